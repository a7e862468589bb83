"""Leeds Sports Pose and its extension, from the published ``joints.mat`` and ``images/im*.jpg``.

Sources: Johnson and Everingham, Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation (BMVC 2010);
Learning Effective Human Pose Estimation from Inaccurate Annotation (CVPR 2011). Joints are centred on the person: left
is the person's left. One person is labelled an image.

Legend: N images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from litepose_ofa.supernet.data.imports.dataset import (
    DoubleArray,
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    box_around,
    stored_size,
)
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_content

JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow"),
    *("right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head"),
)
"""In the order of ``joints.mat``; its head is the top of the head, as CrowdPose's."""

_ORDER = [JOINTS.index(name) for name in CROWDPOSE.keypoints]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How one of the two sets is laid out.

    Attributes:
        shape: Of the array but for its last axis, the images: 14 joints and 3 values in either order.
        digits: Of the number in an image's name.
        visibility: COCO's, for a third value of 0 and of 1.
        held_out: The split at the end.
        nth: How much of the images that is, one in so many.
    """

    shape: tuple[int, int]
    digits: int
    visibility: tuple[int, int]
    held_out: str
    nth: int


_LSP = _Layout((3, 14), 4, visibility=(2, 1), held_out="test", nth=2)
_LSPET = _Layout((14, 3), 5, visibility=(0, 2), held_out="val", nth=10)


def read_lsp(folder: Path) -> ImportedDataset:
    """Read LSP: a third value of 1 is a hidden joint, and the second half of the 2,000 images is the split "test"."""
    return _read(folder, _LSP)


def read_lspet(folder: Path) -> ImportedDataset:
    """Read LSP extended: a third value of 1 is a labelled joint, and the last tenth of the 10,000 images is "val"."""
    return _read(folder, _LSPET)


def _read(folder: Path, layout: _Layout) -> ImportedDataset:
    path, pictures = folder / "joints.mat", folder / "images"
    people = _joints(path, layout)[:, _ORDER]
    files = len(list(pictures.glob("im*.jpg")))
    if files != len(people):
        raise InputError(f"{path}: is of {len(people)} images; {pictures} has {files} files im*.jpg")
    people[..., 2] = np.array(layout.visibility)[people[..., 2].astype(int)]
    people[..., :2] -= 1  # MATLAB counts pixels from 1, COCO from 0
    people[people[..., 2] == 0] = 0
    if not np.isfinite(people).all():
        raise InputError(f"{path}: 'joints' has a labelled joint that is not finite numbers")
    images = [_image(pictures / f"im{number:0{layout.digits}d}.jpg", one) for number, one in enumerate(people, 1)]
    first = len(images) - len(images) // layout.nth
    return ImportedDataset(CROWDPOSE, {"train": images[:first], layout.held_out: images[first:]})


def _joints(path: Path, layout: _Layout) -> DoubleArray:
    """Return x, y and the third value of the joints, shape (N, 14, 3)."""
    read_content(path)  # it says what is wrong with a file that cannot be read
    try:
        joints: Any = loadmat(str(path), appendmat=False).get("joints")
    except Exception as error:  # of many kinds, by what is damaged
        raise InputError(f"{path}: is not a MATLAB file that is read ({' '.join(str(error).split())})") from None
    shape: tuple[int, ...] = joints.shape if isinstance(joints, np.ndarray) and joints.dtype.kind in "fiu" else ()
    if shape[:2] != layout.shape or len(shape) != 3 or not shape[2]:
        found = " x ".join(map(str, shape)) or "no array of numbers"
        allowed = " x ".join(map(str, layout.shape))
        raise InputError(f"{path}: 'joints' is {found}; it must be {allowed} x the number of images")
    axes = layout.shape.index(len(JOINTS)), layout.shape.index(3)
    values: DoubleArray = joints.astype(np.float64).transpose(2, *axes)
    if not np.isin(values[..., 2], (0, 1)).all():
        raise InputError(f"{path}: 'joints' has a joint whose third value is neither 0 nor 1")
    return values


def _image(path: Path, keypoints: DoubleArray) -> ImportedImage:
    size = stored_size(path)
    labelled = bool(keypoints[:, 2].any())
    people = [ImportedPerson(keypoints, box_around(keypoints, size))] if labelled else []
    return ImportedImage(path, path.name, size, people)
