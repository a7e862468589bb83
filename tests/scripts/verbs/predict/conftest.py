"""A folder of pictures, an export folder to find people with, and what the verb leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.evaluation.subnets import Calibration
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.export.formats import onnx_format
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.extract import extract_subnet

Array = npt.NDArray[Any]

ALL_PEAKS = ("threads=1", "inference.threshold=0", "inference.max_people=5", "min_score=-1")
"""Six steps of training leave no sure people, but peaks."""
SIDE = 96
"""Width and height of the pictures in pixels."""


@pytest.fixture(scope="session")
def exported(_trained: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export folder of the trained supernet's smallest subnet, BN recalibrated; to be read only."""
    supernet = load_supernet(_trained / "supernet" / "supernet.safetensors")
    root = data_root / "people"
    dataset = KeypointDataset.load(root / "annotations" / "train.json", root / "images" / "train", CROWDPOSE)
    subnet = extract_subnet(supernet, supernet.space.smallest())
    Calibration(dataset, num_images=4, batch_size=2).apply(subnet)
    folder = tmp_path_factory.mktemp("export") / "m"
    images = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), np.float32)
    return write_bundle(folder, subnet, skeleton=CROWDPOSE, images=images, formats=[onnx_format()], facts={}).folder


@pytest.fixture
def pictures(data_root: Path, tmp_path: Path) -> Path:
    """A folder of four pictures."""
    return Path(shutil.copytree(data_root / "people" / "images" / "val", tmp_path / "pictures"))


@pytest.fixture
def predict(run_script: Any, exported: Path, pictures: Path, tmp_path: Path) -> Callable[..., Any]:
    """Find people in the pictures with the export folder; later overrides win."""
    given = (f"input={pictures}", f"model={exported}", f"output={tmp_path / 'out'}", *ALL_PEAKS)
    return lambda *overrides: run_script("predict", *given, *overrides)


@pytest.fixture(scope="session")
def people_of() -> Callable[[Path], dict[str, tuple[Array, Array]]]:
    """Read keypoints and scores of every picture in an output folder, by its name."""

    def read(folder: Path) -> dict[str, tuple[Array, Array]]:
        results, found = read_json(folder / "predictions.json"), {}
        for image in read_json(folder / "images.json")["images"]:
            people = [person for person in results if person["image_id"] == image["id"]]
            keypoints = np.array([person["keypoints"] for person in people]).reshape(-1, 14, 3)
            found[image["file_name"]] = keypoints, np.array([person["score"] for person in people])
        return found

    return read
