"""A small COCO-format folder, written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import CROWDPOSE


@pytest.fixture
def content() -> dict[str, Any]:
    """Two images of 40 x 30: a person, a crowd and somebody without keypoints in the first, nobody in the second."""
    person = [value for k in range(14) for value in (2 * k + 3, k + 5, 2 - k % 2)]
    nobody = [0] * 42
    return {
        "images": [
            {"id": 7, "file_name": "7.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "3.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "keypoints": person, "bbox": [3, 5, 27, 14]},
            {"id": 2, "image_id": 7, "keypoints": person, "bbox": [30, 0, 10, 10], "iscrowd": 1},
            {"id": 4, "image_id": 7, "keypoints": nobody, "bbox": [0, 20, 5, 10]},
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[[dict[str, Any]], tuple[Path, Path]]:
    """Write annotations and random images; return (annotations, images)."""

    def write(content: dict[str, Any]) -> tuple[Path, Path]:
        images = tmp_path / "images"
        images.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for picture in content["images"]:
            pixels = rng.integers(0, 256, (picture["height"], picture["width"], 3), np.uint8)
            cv2.imwrite(str(images / picture["file_name"]), pixels)
        (tmp_path / "people.json").write_text(json.dumps(content))
        return tmp_path / "people.json", images

    return write


@pytest.fixture
def dataset(content: dict[str, Any], write_folder: Callable[[dict[str, Any]], tuple[Path, Path]]) -> KeypointDataset:
    return KeypointDataset.load(*write_folder(content), CROWDPOSE)
