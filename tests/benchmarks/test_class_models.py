"""The class models: known costs come back from made-up blocks, and the shipped numbers from the public data."""

import random
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from litepose_ofa.supernet.archs.operators import Convolution
from litepose_ofa.supernet.errors import InputError

public_data, refit = import_module("public_data"), import_module("refit")
fit_relative, Sample = import_module("regression").fit_relative, import_module("regression").Sample
ratios, calibrating = import_module("block_ratios"), import_module("calibrate")

HEADER = "device,model_or_op,in_ch,out_ch,kernel,stride,expand,resolution,out_resolution,latency_ms,note"


class ReferencePath(Protocol):
    def __call__(self, name: str) -> Path: ...


@pytest.fixture(scope="module")
def data(reference_path: ReferencePath) -> Path:
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


def test_expansion_ratio_pairs_blocks_of_one_shape() -> None:
    model = calibrating.uncalibrated_model("snapdragon_855_cpu")
    plain = [made for made in BLOCKS if made.is_plain]
    check = ratios.expansion_ratio(plain, model, larger=6, smaller=2)
    assert check.pairs == 12
    assert 1 < check.measured < 3
    assert 1 < check.estimated < 3


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


def test_the_nanos_own_convolutions_bear_the_tile(data: Path) -> None:
    """Held-out errors of its 36 convolutions: maps in whole tiles of 8 are as good as none, those of 16 are refuted."""
    timed = public_data.jetson_nano(data)
    error = {
        tile: sum(
            refit.fit_class(timed, kind, [kernel], map_tile=tile).held_out_mape
            for kind, kernel in (("conv", 1), ("depthwise", 3))
        )
        for tile in (1, refit.NANO_MAP_TILE, 16)
    }
    assert error[refit.NANO_MAP_TILE] < 1.02 * error[1]
    assert error[16] > 2 * error[1]


def test_blocks_of_held_out_shapes_are_met(refitted: dict[str, Any], data: Path) -> None:
    models = refitted["cortex_a76"]["models"]
    assert models[0]["samples"] == len(public_data.cortex_a76_blocks(data)) == 1547
    assert models[0]["groups"] == 11
    assert all(model["mape"] < 0.08 for model in models)


def test_networks_of_measured_blocks_are_met(data: Path) -> None:
    """Chains of random measured blocks, one to three of each shape: the sum of the model against the measured sum."""
    blocks = public_data.cortex_a76_blocks(data)
    costs = fit_relative([ratios.block_sample(timed) for timed in blocks]).costs
    shapes: dict[str, list[tuple[float, float]]] = {}
    for timed in blocks:
        sample = ratios.block_sample(timed)
        estimated = sum(costs[name] * amount for name, amount in sample.amounts.items())
        shapes.setdefault(sample.group, []).append((sample.ms, estimated))
    rng, errors = random.Random(0), []
    for _ in range(300):
        chain = [rng.choice(timed) for timed in shapes.values() for _ in range(rng.randint(1, 3))]
        errors.append(sum(estimated for _, estimated in chain) / sum(ms for ms, _ in chain) - 1)
    assert np.sqrt(np.mean(np.square(errors))) < 0.03
    assert np.max(np.abs(errors)) < 0.07


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


def test_blocks_are_read_with_their_parts(tmp_path: Path) -> None:
    lines = (
        "n,mbconv,32,48,7,2,4,28,14,1.5,net_res=224;count=9;mid=128;skip=0;se=1;hswish=0",
        "n,mbconv,24,24,3,1,1,56,56,0.5,mid=24;skip=1;se=0;hswish=0",
        "n,Conv,3,24,3,2,,112,56,0.2,net_res=112",
    )
    (tmp_path / public_data.CORTEX_A76_CSV).write_text("\n".join([HEADER, *lines]) + "\n")
    expanded, plain = public_data.cortex_a76_blocks(tmp_path)
    parts = (
        Convolution("conv", 32, 128, 1, 28, 28),
        Convolution("depthwise", 128, 128, 7, 28, 14),
        Convolution("conv", 128, 48, 1, 14, 14),
    )
    assert expanded == public_data.TimedBlock(parts, 2, 4, squeeze_excitation=True, hard_swish=False, ms=1.5)
    assert (expanded.is_plain, plain.is_plain, [c.kind for c in plain.convolutions]) == (
        False,
        True,
        ["depthwise", "conv"],
    )
    (stem,) = public_data.cortex_a76_stems(tmp_path)
    assert stem == public_data.TimedConvolution(Convolution("conv", 3, 24, 3, 112, 56), 0.2)


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
