"""Small pictures, and what a folder that was written says when it is read as any dataset is."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.imports.dataset import ImportedDataset, write_dataset

WIDTH, HEIGHT = 40, 20


@pytest.fixture
def draw() -> Callable[[Path], Path]:
    """Write an image of 40 x 20 of its own content, and the folders above it."""

    def write(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = np.random.default_rng(zlib.crc32(bytes(path))).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        assert cv2.imwrite(str(path), content)
        return path

    return write


@pytest.fixture
def written(tmp_path: Path) -> Callable[[ImportedDataset, str], Any]:
    """Write a dataset and read one of its splits."""

    def write(dataset: ImportedDataset, split: str = "train") -> KeypointDataset:
        folder = tmp_path / "written"
        if not folder.exists():
            write_dataset(dataset, folder, "a test")
        path = folder / f"annotations/person_keypoints_{split}.json"
        return KeypointDataset.load(path, folder / "images", dataset.skeleton)

    return write
