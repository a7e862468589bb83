"""Files of every format are what torch computes; what counts as equal, and what is said of a file that is not."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.formats import (
    TOLERANCE,
    ExportFormat,
    ParityError,
    litert_format,
    measure_parity,
    ncnn_format,
    onnx_format,
    onnx_peaks_format,
)
from litepose_ofa.supernet.export.onnx_graph import OPSETS
from litepose_ofa.supernet.export.runners import FloatArray
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.litepose import LitePose

pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")
pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
pytest.importorskip("pnnx", reason="the extra 'ncnn' is not installed")

Network = tuple[LitePose, FloatArray]
Build = Callable[[Arch], Network]

ONNX = {
    "onnx": onnx_format(),
    "peaks": onnx_peaks_format(),
    "dynamic": onnx_format("dynamic"),
    "dynamic peaks": onnx_peaks_format("dynamic", most=7),
}
DEVICES = [litert_format(), litert_format(float16=True), ncnn_format(), ncnn_format(float16=True)]


@pytest.mark.parametrize(
    ("difference", "tolerance", "relative", "accepted"),
    [
        (0.05, 0.06, False, True),
        (0.05, 0.04, False, False),
        (0.05, None, False, True),
        (math.nan, None, False, False),
        (math.inf, 1.0, False, False),
        (0.05, 0.02, True, True),
        (0.05, 0.01, True, False),
    ],
)
def test_a_difference_on_any_image_is_held_against_the_tolerance(
    difference: float, tolerance: float | None, relative: bool, accepted: bool, subnet: LitePose, images: Tensor
) -> None:
    def compare(path: Path, network: LitePose, pictures: FloatArray) -> Iterator[tuple[float, float]]:
        yield from [(0.0, 1.0), (difference, 3.0), (0.01, 2.0)]

    fmt = ExportFormat("given", ("file",), lambda network: [b""], {}, tolerance, relative, compare)
    if not accepted:
        with pytest.raises(ParityError, match=r"^given: differs from torch by .* is accepted$"):
            measure_parity(fmt, Path(), subnet, images.numpy())
        return
    parity = measure_parity(fmt, Path(), subnet, images.numpy())
    assert (parity["images"], parity["max_abs_output"], parity["max_abs_difference"]) == (3, 3.0, difference)
    assert parity["tolerance"] == (3 * tolerance if relative and tolerance is not None else tolerance)


@pytest.mark.parametrize("name", ONNX)
def test_an_onnx_file_is_what_torch_computes(name: str, subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    fmt = ONNX[name]
    fmt.write(tmp_path, subnet)
    assert tuple(path.name for path in tmp_path.iterdir()) == fmt.files
    parity = measure_parity(fmt, tmp_path, subnet, images.numpy())
    assert parity["max_abs_difference"] <= TOLERANCE < parity["max_abs_output"]
    found = onnx.load(tmp_path / fmt.files[0])
    assert fmt.facts["opset"] == found.opset_import[0].version
    assert fmt.facts["ir_version"] == found.ir_version
    assert fmt.facts["runtime_version"] == onnxruntime.__version__
    assert fmt.facts["batch"] == ("dynamic" if "dynamic" in name else 1)


@pytest.mark.parametrize("opset", OPSETS)
def test_peaks_run_in_every_opset(opset: int, subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    fmt = onnx_peaks_format(opset=opset)
    fmt.write(tmp_path, subnet)
    onnx.checker.check_model(onnx.load(tmp_path / fmt.files[0]), full_check=True)
    measure_parity(fmt, tmp_path, subnet, images[:1].numpy())


@pytest.mark.parametrize("name", ["onnx", "peaks"])
@pytest.mark.parametrize("change", [0.01, np.nan])
def test_other_weights_are_noticed(name: str, change: float, subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    ONNX[name].write(tmp_path, subnet)
    other = copy.deepcopy(subnet)
    with torch.no_grad():
        other.get_parameter("first.0.0.weight")[0] += change
    with pytest.raises(ParityError, match=r"onnx.*: differs from torch by .*; at most 1e-04 is accepted"):
        measure_parity(ONNX[name], tmp_path, other, images.numpy())
    onnx_peaks_format(threshold=3).write(tmp_path, subnet)
    with pytest.raises(ParityError):
        measure_parity(onnx_peaks_format(), tmp_path, subnet, images.numpy())


@pytest.fixture(scope="module")
def build(randomise: Callable[..., Any]) -> Build:
    """Make a network whose heads have the scale of a trained one's, and five images."""

    def make(arch: Arch) -> Network:
        network: LitePose = randomise(LitePose(arch), 1).eval()
        images = np.random.default_rng(2).standard_normal((5, 3, arch.image_size, arch.image_size), np.float32)
        recalibrate_batch_norm(network, [torch.from_numpy(images[:2])])
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if name.startswith("final_") and name.endswith("conv.3.weight"):
                    weight.div_(2)
        return network.eval(), images

    return make


def short_archs() -> Iterator[Arch]:
    """Yield random architectures of ``litepose`` with kernels 3 and 5, every stage as shallow as it may be."""
    space = SearchSpace.preset("litepose")
    stages = tuple(replace(stage, kernels=(3, 5), depths=stage.depths[:1]) for stage in space.stages)
    rng = np.random.default_rng(0)
    while True:
        yield replace(space, stages=stages).sample(rng)


def check(fmt: ExportFormat, network: Network, folder: Path) -> None:
    """Write a network's files and compare them with torch."""
    subnet, images = network
    fmt.write(folder, subnet)
    parity = measure_parity(fmt, folder, subnet, images)
    assert parity["images"] == 5
    assert 2 < parity["max_abs_output"] < 10, "outputs near zero would agree with anything"
    if fmt.name.endswith("fp16"):
        assert parity["max_abs_difference"] > 1e-4, "the weights are not rounded"


@pytest.fixture(scope="module")
def small(build: Build, tiny: SearchSpace) -> Network:
    return build(tiny.largest().with_image_size(96))


@pytest.fixture(scope="module")
def written(small: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network in every format of devices."""
    folder = tmp_path_factory.mktemp("formats")
    for fmt in DEVICES:
        check(fmt, small, folder)
    return folder


@pytest.mark.parametrize("fmt", DEVICES, ids=lambda fmt: fmt.name)
def test_equal_networks_give_equal_bytes(fmt: ExportFormat, small: Network, written: Path, tmp_path: Path) -> None:
    fmt.write(tmp_path, small[0])
    assert sorted(fmt.files) == sorted(path.name for path in tmp_path.iterdir())
    for name in fmt.files:
        content = (tmp_path / name).read_bytes()
        assert content == (written / name).read_bytes()
        assert not any(str(folder).encode() in content for folder in (Path.cwd(), Path(gettempdir())))


def test_float16_halves_the_weights(written: Path) -> None:
    for name in ("model{}.tflite", "model{}.ncnn.bin"):
        full, half = ((written / name.format(precision)).stat().st_size for precision in ("", "_fp16"))
        assert 0.5 <= half / full < 0.55


def test_weights_beyond_float16_are_one_line(tiny: SearchSpace) -> None:
    network = LitePose(tiny.smallest()).eval()
    network.get_parameter("first.0.0.weight").data[0] = 1e6
    with pytest.raises(InputError, match=r"format litert_fp16: first\.0\.0.* float16 ends at 65504; use litert"):
        litert_format(float16=True).convert(network)


def test_a_short_network_with_kernels_3_and_5(build: Build, tmp_path: Path) -> None:
    arch = next(short_archs()).with_image_size(64)
    assert {block.kernel for stage in arch.stages for block in stage.blocks} == {3, 5}
    network = build(arch)
    for fmt in (onnx_format(), litert_format(), ncnn_format()):
        check(fmt, network, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(6))
def test_five_short_networks_of_full_size_and_the_published_xs(
    place: int, build: Build, published_archs: dict[str, Arch], tmp_path: Path
) -> None:
    archs = [*itertools.islice(short_archs(), 5), published_archs["search-XS"]]
    network = build(archs[place])
    for fmt in (onnx_format(), *DEVICES):
        check(fmt, network, tmp_path)
