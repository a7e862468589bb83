"""One export folder, made once: a subnet with kernels 3, 5 and 7 and statistics of its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.export.bundle import Manifest, write_bundle
from litepose_ofa.supernet.export.formats import onnx_format
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose


@pytest.fixture(scope="session")
def mixed_arch(tiny: SearchSpace) -> Arch:
    """A random architecture with every kernel size."""
    rng = np.random.default_rng(0)
    archs = (tiny.sample(rng) for _ in range(100))
    return next(
        arch.with_image_size(96)
        for arch in archs
        if {block.kernel for stage in arch.stages for block in stage.blocks} == {3, 5, 7}
    )


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def subnet(_tiny_supernet: LitePoseSupernet, mixed_arch: Arch, images: Tensor) -> LitePose:
    subnet = extract_subnet(_tiny_supernet, mixed_arch)
    recalibrate_batch_norm(subnet, [images])
    return subnet


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory, subnet: LitePose, images: Tensor) -> Manifest:
    """What the writer returned."""
    return write_bundle(
        tmp_path_factory.mktemp("export") / "raspberry_pi_4b" / "m",
        subnet,
        skeleton=CROWDPOSE,
        images=images.numpy(),
        formats=[onnx_format()],
        facts={"device": "raspberry_pi_4b", "tier": "m", "accuracy": {"metrics": {"AP": 0.5}}},
    )


@pytest.fixture(scope="session")
def folder(manifest: Manifest) -> Path:
    """The export folder, to be read only."""
    return manifest.folder


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    """A copy of the export folder that the test may change."""
    return Path(shutil.copytree(folder, tmp_path / "m"))
