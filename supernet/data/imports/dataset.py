"""What a reader of another format returns, and the COCO-format folder that it becomes.

Legend: K keypoints. Frame: the stored image: x right, y down, in pixels.
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from litepose_ofa.supernet.data.coco.writing import category_entry, person_entry
from litepose_ofa.supernet.data.image_files import BadImageError, read_bytes, require_header
from litepose_ofa.supernet.data.image_headers import read_orientation
from litepose_ofa.supernet.data.skeletons import BOX_AREA_SHARE, SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import replacing_folder, write_text

DoubleArray = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})

MARGIN = 0.12
"""Of a box around keypoints, on each side: this share of the longer side of their extent."""

SLACK = 1e-3
"""By how much of the image a fraction may leave it: exports round."""

HELD_OUT = 0.1
"""Share of the training images for a split that a dataset does not have."""

SIGMA = 0.05
"""OKS constant of a keypoint of which nothing is known; see docs/own_skeleton.md."""

NO_SIDES = "left and right cannot be told: fill in flip_pairs, or a mirrored picture teaches that they are one"
SIDES_BY_NAME = "left and right are told by the keypoints' names"


@dataclass(frozen=True, slots=True, eq=False)
class ImportedPerson:
    """A person as another format has it.

    Attributes:
        keypoints: x, y and visibility (0 not labelled, 1 hidden, 2 visible), shape (K, 3).
        box: x, y, width, height.
        category: The place of the category in the dataset's.
    """

    keypoints: DoubleArray
    box: Box
    category: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ImportedImage:
    """An image file, its name in the new folder of images, its width and height, and who is in it."""

    source: Path
    file_name: str
    size: tuple[int, int]
    people: Sequence[ImportedPerson]


@dataclass(frozen=True, slots=True, eq=False)
class ImportedDataset:
    """A dataset as another format has it.

    Attributes:
        skeleton: Its keypoints.
        splits: Images by split: "train", and one or two others of which the last is reported on.
        categories: Names of the kinds of people.
        doubts: What is odd about it, a line each.
    """

    skeleton: Skeleton
    splits: Mapping[str, Sequence[ImportedImage]]
    categories: Sequence[str] = ("person",)
    doubts: Sequence[str] = ()


def write_dataset(
    dataset: ImportedDataset, folder: Path, description: str, *, on_image: Callable[[], object] | None = None
) -> None:
    """Write ``images``, ``annotations/person_keypoints_<split>.json`` and ``dataset/<name>.yaml``, all or nothing.

    Images are hard links to the given files where the file system allows it, else copies. The YAML is an option of the
    ``dataset`` group, whose ``--config-dir`` is the folder.

    Args:
        dataset: What is written.
        folder: Where; its name is the dataset's.
        description: Where it is from, one line.
        on_image: Called after each image.

    Raises:
        InputError: If the folder is there already, or two images would have one name.
    """
    require_new(folder)
    image_ids, person_ids = itertools.count(1), itertools.count(1)
    with replacing_folder(folder) as temporary:
        for split, images in dataset.splits.items():
            content: dict[str, Any] = {"info": {"description": description}, "images": [], "annotations": []}
            for image, id in zip(images, image_ids, strict=False):
                _place(image.source, temporary / "images" / image.file_name)
                size = {"width": image.size[0], "height": image.size[1]}
                content["images"].append({"id": id, "file_name": image.file_name, **size})
                content["annotations"] += [_entry(next(person_ids), id, person) for person in image.people]
                if on_image is not None:
                    on_image()
            content["categories"] = [
                category_entry(dataset.skeleton, id=id, name=name) for id, name in enumerate(dataset.categories, 1)
            ]
            write_text(temporary / _annotations(split), json.dumps(content))
        option = _option(folder, description, dataset)
        write_text(temporary / "dataset" / f"{folder.name}.yaml", option)


def require_new(folder: Path) -> None:
    """Refuse a folder that is there already."""
    if os.path.lexists(folder):
        raise InputError(f"{folder}: is there already; move it away, or choose another name")


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise InputError(f"{source}: a second image of the name {target.name}; rename one")
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _entry(id: int, image_id: int, person: ImportedPerson) -> dict[str, Any]:
    box = [round(value, 2) for value in person.box]
    area = round(BOX_AREA_SHARE * box[2] * box[3], 2)
    return person_entry(id, image_id, box, area, person.keypoints, category_id=person.category + 1)


def _annotations(split: str) -> str:
    return f"annotations/person_keypoints_{split}.json"


def _option(folder: Path, description: str, dataset: ImportedDataset) -> str:
    """Return the YAML of the ``dataset`` group: splits that are missing are held out of the training images."""
    files = {split: {"annotations": _annotations(split), "images": "images"} for split in dataset.splits}
    others = [split for split in files if split != "train"]
    holdout = {"holdout_fraction": HELD_OUT, "seed": 0}
    values = {
        "name": folder.name,
        "skeleton": _plain(dataset.skeleton),
        "root": str(folder.resolve()),
        "train": files["train"],
        "search": files[others[0]] if len(others) > 1 else holdout,
        "val": files[others[-1]] if others else holdout,
        "on_bad_image": "error",
    }
    known = dataset.skeleton.name in SKELETONS
    head = f"# {description}\n" + ("" if known else "# limbs, flip_pairs and sigmas: see docs/own_skeleton.md\n")
    return head + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def _plain(skeleton: Skeleton) -> str | dict[str, Any]:
    if skeleton.name in SKELETONS:
        return skeleton.name
    return {key: value for key, value in skeleton.to_dict().items() if key != "name"}


def skeleton_of(names: Sequence[str], flip_pairs: Sequence[tuple[int, int]]) -> Skeleton:
    """Return the known skeleton that has keypoints of these names, maybe in another order, or a new one without limbs.

    Args:
        names: Of the keypoints.
        flip_pairs: What a mirror swaps, by places from 0.

    Raises:
        InputError: If a name is empty or there twice.
    """
    for known in SKELETONS.values():
        if len(names) == len(known.keypoints) and set(names) == set(known.keypoints):
            return known
    pairs, sigmas = [list(pair) for pair in flip_pairs], [SIGMA] * len(names)
    own = {"name": "own", "keypoints": list(names), "limbs": [], "flip_pairs": pairs, "sigmas": sigmas, "area": "box"}
    return Skeleton.from_dict(own)


def pairs_by_name(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the keypoints whose names differ in "left" and "right" alone, by their places."""
    places = {name.lower(): place for place, name in enumerate(names)}
    mirrored = {place: places.get(name.replace("left", "right")) for name, place in places.items() if "left" in name}
    return [(left, right) for left, right in mirrored.items() if right is not None]


def stored_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image file.

    Raises:
        BadImageError: If it cannot be opened, is no image that is read, or an EXIF orientation turns it: labels are of
            what their author saw, while stored pixels are trained on.
    """
    encoded = read_bytes(path)
    header = require_header(path, encoded)
    if read_orientation(encoded) != 1:
        raise BadImageError(f"{path}: its EXIF orientation turns it; store its pixels upright")
    return header.width, header.height


def in_pixels(value: float, whole: float, side: int, where: str) -> float:
    """Return a coordinate in pixels.

    Args:
        value: A share of ``whole``.
        whole: What the side of the image is: 1, or 100 for percentages.
        side: The side in pixels.
        where: What a message calls the value.
    """
    if not -SLACK * whole <= value <= (1 + SLACK) * whole:
        raise InputError(f"{where} is {shown(value)}; it must be from 0 to {whole:g}")
    return min(max(value / whole, 0.0), 1.0) * side


def box_around(keypoints: DoubleArray, size: tuple[int, int]) -> Box:
    """Return the extent of the labelled keypoints with a margin, as far as it is in the image.

    Args:
        keypoints: Shape (K, 3), at least one of them labelled.
        size: Width and height of the image.
    """
    points = keypoints[keypoints[:, 2] > 0, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * (high - low).max()
    low, high = np.clip([low - margin, high + margin], 0, size)
    return (*low.tolist(), *(high - low).tolist())
