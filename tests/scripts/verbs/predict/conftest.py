"""A folder of pictures, an export folder to find people with, and what the script leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.evaluation.subnets import Calibration
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.export.formats import onnx_format
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.extract import extract_subnet

RunScript = Callable[..., Any]
Array = npt.NDArray[Any]

ALL_PEAKS = ("threads=1", "inference.threshold=0", "inference.max_people=5", "min_score=-1")
"""Six steps of training leave no sure people, but peaks."""
SIDE = 96


@pytest.fixture(scope="session")
def exported(_trained: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export folder of the trained supernet's smallest subnet, BN recalibrated; to be read only."""
    supernet = load_supernet(_trained / "supernet" / "supernet.safetensors")
    root = data_root / "people"
    dataset = KeypointDataset.load(root / "annotations" / "train.json", root / "images" / "train", CROWDPOSE)
    subnet = extract_subnet(supernet, supernet.space.smallest())
    Calibration(dataset, num_images=4, batch_size=2).apply(subnet)
    folder = tmp_path_factory.mktemp("export") / "m"
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    formats = [onnx_format()]
    return write_bundle(folder, subnet, skeleton=CROWDPOSE, images=images.numpy(), formats=formats, facts={}).folder


@pytest.fixture
def pictures(data_root: Path, tmp_path: Path) -> Path:
    """A folder of four pictures."""
    return Path(shutil.copytree(data_root / "people" / "images" / "val", tmp_path / "pictures"))


@pytest.fixture
def predict(run_script: RunScript, exported: Path, pictures: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run the script on the pictures with the export folder; later overrides win."""

    def run(*overrides: str) -> Any:
        given = (f"input={pictures}", f"model={exported}", f"output={tmp_path / 'out'}")
        return run_script("predict", *given, *ALL_PEAKS, *overrides)

    return run


@pytest.fixture(scope="session")
def config() -> DictConfig:
    """The config without input and model, on one thread."""
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("predict", ["threads=1"])


@pytest.fixture(scope="session")
def side() -> int:
    """Width and height of the pictures in pixels."""
    return SIDE


@pytest.fixture(scope="session")
def people_of() -> Callable[[Path], list[tuple[Array, Array]]]:
    return _people_of


def _people_of(folder: Path) -> list[tuple[Array, Array]]:
    """Keypoints and scores of every picture, by image id."""
    results, images = read_json(folder / "predictions.json"), read_json(folder / "images.json")["images"]
    found = []
    for image in images:
        people = [person for person in results if person["image_id"] == image["id"]]
        keypoints = np.array([person["keypoints"] for person in people]).reshape(-1, 14, 3)
        found.append((keypoints, np.array([person["score"] for person in people])))
    return found
