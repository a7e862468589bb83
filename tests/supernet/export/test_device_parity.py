"""TFLite and ncnn files compute what torch does: of small networks, and at full size of published and random ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import pytest
import torch

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.formats import ExportFormat, FloatArray, measure_parity
from litepose_ofa.supernet.export.litert import LitertFormat
from litepose_ofa.supernet.export.ncnn import NcnnFormat
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.litepose import LitePose

pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")
pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
pytest.importorskip("pnnx", reason="the extra 'ncnn' is not installed")

Network = tuple[LitePose, FloatArray]
Build = Callable[[Arch], Network]

FORMATS: dict[str, Callable[[], ExportFormat]] = {
    "litert": lambda: LitertFormat(),
    "litert_fp16": lambda: LitertFormat("float16"),
    "ncnn": lambda: NcnnFormat(),
    "ncnn_fp16": lambda: NcnnFormat("float16"),
}


@pytest.fixture(scope="module", params=FORMATS)
def fmt(request: pytest.FixtureRequest) -> ExportFormat:
    return FORMATS[request.param]()


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
    assert parity.images == 5
    assert 2 < parity.max_abs_output < 10, "outputs near zero would agree with anything"
    if fmt.name.endswith("fp16"):
        assert parity.max_abs_difference > 1e-4, "the weights are not rounded"


@pytest.fixture(scope="module")
def small(build: Build, tiny: SearchSpace) -> Network:
    return build(tiny.largest().with_image_size(96))


@pytest.fixture(scope="module")
def written(small: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for make in FORMATS.values():
        check(make(), small, folder)
    return folder


def test_equal_networks_give_equal_bytes(fmt: ExportFormat, small: Network, written: Path, tmp_path: Path) -> None:
    fmt.write(tmp_path, small[0])
    assert sorted(fmt.files) == sorted(path.name for path in tmp_path.iterdir())
    for name in fmt.files:
        content = (tmp_path / name).read_bytes()
        assert content == (written / name).read_bytes()
        assert not any(str(folder).encode() in content for folder in (Path.cwd(), Path(gettempdir())))


@pytest.mark.parametrize("name", ["model{}.tflite", "model{}.ncnn.bin"])
def test_float16_halves_the_weights(name: str, written: Path) -> None:
    full, half = ((written / name.format(precision)).stat().st_size for precision in ("", "_fp16"))
    assert 0.5 <= half / full < 0.55


def test_a_short_network_with_kernels_3_and_5(build: Build, tmp_path: Path) -> None:
    arch = next(short_archs()).with_image_size(64)
    assert {block.kernel for stage in arch.stages for block in stage.blocks} == {3, 5}
    network = build(arch)
    for name in ("litert", "ncnn"):
        check(FORMATS[name](), network, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(5))
def test_five_short_networks_of_full_size(place: int, build: Build, tmp_path: Path) -> None:
    archs = short_archs()
    network = build([next(archs) for _ in range(place + 1)][-1])
    for make in FORMATS.values():
        check(make(), network, tmp_path)


@pytest.mark.slow
def test_the_published_xs(build: Build, published_archs: dict[str, Arch], fmt: ExportFormat, tmp_path: Path) -> None:
    check(fmt, build(published_archs["search-XS"]), tmp_path)
