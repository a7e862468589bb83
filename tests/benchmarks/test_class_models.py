"""The class models: known costs come back from made-up blocks, and the shipped numbers from the public data."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.archs.operators import Convolution
from litepose_ofa.supernet.errors import InputError

public_data, refit = import_module("public_data"), import_module("refit")
fit_relative, Sample = import_module("regression").fit_relative, import_module("regression").Sample
ratios, calibrating = import_module("block_ratios"), import_module("calibrate")

HEADER = "device,model_or_op,in_ch,out_ch,kernel,stride,expand,resolution,out_resolution,latency_ms,note"


@pytest.fixture(scope="module")
def data(reference_path: Callable[[str], Path]) -> Path:
    return reference_path("data/latency/README.md").parent


@pytest.fixture(scope="module")
def refitted(data: Path) -> dict[str, Any]:
    return refit.refit_class_models(data)


def block(kernel: int, expansion: int, size: int, width: int, *, extras: bool) -> Any:
    """Return a block that costs 1 ms a convolution, 2 ms per MMAC of 1x1, and kernel ms per MMAC of depthwise."""
    hidden = width * expansion
    convolutions = (
        Convolution("conv", width, hidden, 1, size, size),
        Convolution("depthwise", hidden, hidden, kernel, size, size),
        Convolution("conv", hidden, 24, 1, size, size),
    )
    ms = 3 + 2 * (width + 24) * hidden * size**2 / 1e6 + kernel * convolutions[1].macs / 1e6
    if extras:
        ms += 5 * 2 * hidden * size**2 / 1e6 + 7 * hidden * size**2 / 1e6 + 11 * 2 * hidden * (hidden // 4) / 1e6
    return public_data.TimedBlock(convolutions, 1, expansion, extras, extras, ms)


BLOCKS = [
    block(kernel, expansion, size, width, extras=extras)
    for kernel in (3, 5)
    for expansion in (2, 4, 6)
    for size in (20, 40, 80)
    for width in (16, 48)
    for extras in (False, True)
]


def test_costs_of_made_up_blocks_come_back() -> None:
    costs = fit_relative([ratios.block_sample(made) for made in BLOCKS]).costs
    assert costs["overhead_ms"] == pytest.approx(1)
    assert costs["conv"] == pytest.approx(2)
    assert (costs["3/1"], costs["5/1"]) == pytest.approx((3, 5))
    assert costs["ms_per_msqueeze_weight"] == pytest.approx(11, rel=1e-6)
    # blocks that have both or neither cannot tell a hidden element's two swishes from its rescaling
    assert 2 * costs["ms_per_mhswish"] + costs["ms_per_mrescaled"] == pytest.approx(17)
    assert ratios.depthwise_ratio(BLOCKS, larger=5, smaller=3) == pytest.approx(5 * 25 / (3 * 9))


def test_the_shipped_numbers_are_those_of_the_data(refitted: dict[str, Any]) -> None:
    shipped = calibrating.CLASS_MODELS
    assert list(refitted) == list(shipped)
    for name, fitted in refitted.items():
        assert fitted["source"] == shipped[name]["source"]
        for ours, theirs in zip(fitted["models"], shipped[name]["models"], strict=True):
            assert ours == {
                key: pytest.approx(value, rel=2e-3) if isinstance(value, float) else value
                for key, value in theirs.items()
            }


def test_kernels_and_expansions_of_measured_blocks(refitted: dict[str, Any], data: Path) -> None:
    """The Raspberry Pi 4's own blocks, which nothing was fitted to, and those that the kernel ratios come from."""
    pi = calibrating.uncalibrated_model("raspberry_pi_4b", refitted)
    blocks, kernel_ratio = public_data.pi_blocks(data), calibrating.depthwise_ratios(refitted)[5, 1]
    assert ratios.depthwise_ratio(blocks, larger=5, smaller=3) == pytest.approx(kernel_ratio, rel=0.2)
    six = ratios.expansion_ratio(blocks, pi, larger=6, smaller=3)
    assert six.measured == pytest.approx(six.estimated, rel=0.1)
    a76 = calibrating.uncalibrated_model("snapdragon_855_cpu", refitted)
    plain = [timed for timed in public_data.cortex_a76_blocks(data) if timed.is_plain]
    for larger in (4, 6):
        check = ratios.expansion_ratio(plain, a76, larger=larger, smaller=3)
        assert check.measured == pytest.approx(check.estimated, rel=0.03)


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nano_tvm.*\.csv: no such file; data must be the folder"):
        public_data.jetson_nano(tmp_path)
    line = "n,conv2d,8,8,one,1,,14,14,0.7,long_repeat_timing"
    (tmp_path / public_data.NANO_CSV).write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(InputError, match=r"nano_tvm.*\.csv, line 2: .*'one'"):
        public_data.jetson_nano(tmp_path)


def test_errors_are_relative_and_costs_never_negative() -> None:
    """Two samples of one cost: the fit minimises the squares of relative errors, not of milliseconds."""
    fit = fit_relative([Sample(1.0, {"work": 1.0}, "a"), Sample(300.0, {"work": 100.0}, "b")])
    shares = np.array([1.0, 1 / 3])
    assert fit.costs["work"] == pytest.approx(shares.sum() / (shares**2).sum())
    assert fit.held_out_mape == pytest.approx(np.mean([3.0 - 1, 1 - 1 / 3])), "each group held out"
    falling = [Sample(10.0 - work, {"overhead": 1.0, "work": work}, str(work)) for work in (1.0, 2.0, 3.0, 4.0)]
    assert fit_relative(falling).costs["work"] == 0.0
