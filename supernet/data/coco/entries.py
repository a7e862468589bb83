"""One entry of an annotation file, checked: an image, an annotation, the categories."""

import math
import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from litepose_ofa.supernet.data.coco.findings import Finding, Kind
from litepose_ofa.supernet.data.coco.ignore_regions import COORDINATE_LIMIT, are_coordinates, read_segmentation
from litepose_ofa.supernet.data.image_files import MAX_PIXELS
from litepose_ofa.supernet.data.skeletons import Skeleton

IMAGE_KEYS = ("id", "file_name", "width", "height")
ANNOTATION_KEYS = ("id", "image_id", "keypoints", "bbox")

_SHOWN = 60


class UnusableEntryError(Exception):
    """An entry that cannot be used; ``finding`` says why."""

    def __init__(self, kind: Kind, entry: int | str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(kind, entry, message)


class Picture(NamedTuple):
    """An entry of ``images``; the crowd index is NaN if it has none."""

    id: int
    file_name: str
    width: int
    height: int
    crowd_index: float


class Person(NamedTuple):
    """An entry of ``annotations``.

    ``keypoints`` are 3K numbers, ``outlines`` and ``runs`` where nobody is labelled (of a labelled person none).
    ``category`` is None and ``area`` NaN if the entry has none.
    """

    id: int
    image_id: int
    category: int | None
    keypoints: list[float]
    box: list[float]
    area: float
    is_crowd: bool
    num_keypoints: int
    outlines: list[list[float]]
    runs: list[int] | None


def read_picture(position: int, entry: object) -> Picture:
    """Check an entry of ``images``.

    Raises:
        UnusableEntryError: If it cannot be used.
    """
    where = f"images[{position}]"
    values = require_object(Kind.BAD_IMAGE_ENTRY, where, entry, IMAGE_KEYS)
    image_id = values["id"]
    if not is_id(image_id):
        message = f"{where} has the id {_shown(image_id)}; it must be an integer of 64 bits"
        raise UnusableEntryError(Kind.BAD_IMAGE_ENTRY, where, message)
    name = f"image {image_id}"
    for side in ("width", "height"):
        if type(values[side]) is not int or not 1 <= values[side] <= COORDINATE_LIMIT:
            message = f"{name} has the {side} {_shown(values[side])}; it must be a positive integer of up to 2^20"
            raise UnusableEntryError(Kind.BAD_IMAGE_ENTRY, image_id, message)
    if values["width"] * values["height"] > MAX_PIXELS:
        message = f"{name} has {values['width']} x {values['height']} pixels; at most {MAX_PIXELS} are read"
        raise UnusableEntryError(Kind.BAD_IMAGE_ENTRY, image_id, message)
    crowd_index = values.get("crowdIndex")
    if crowd_index is not None and not _is_finite(crowd_index):
        message = f"{name} has the crowdIndex {_shown(crowd_index)}; it must be a number"
        raise UnusableEntryError(Kind.BAD_IMAGE_ENTRY, image_id, message)
    return Picture(
        image_id,
        _file_name(name, image_id, values["file_name"]),
        values["width"],
        values["height"],
        math.nan if crowd_index is None else float(crowd_index),
    )


def read_person(position: int, entry: object, skeleton: Skeleton) -> Person:
    """Check an entry of ``annotations``.

    Raises:
        UnusableEntryError: If it cannot be used.
    """
    where = f"annotations[{position}]"
    values = require_object(Kind.BAD_ANNOTATION, where, entry, ANNOTATION_KEYS)
    person_id = values["id"]
    if not is_id(person_id):
        message = f"{where} has the id {_shown(person_id)}; it must be an integer of 64 bits"
        raise UnusableEntryError(Kind.BAD_ANNOTATION, where, message)
    try:
        return _checked_person(person_id, values, skeleton)
    except ValueError as error:
        raise UnusableEntryError(Kind.BAD_ANNOTATION, person_id, f"annotation {person_id}: {error}") from None


def _checked_person(person_id: int, values: Mapping[str, Any], skeleton: Skeleton) -> Person:
    image_id, category = values["image_id"], values.get("category_id")
    _check(is_id(image_id), "image_id", image_id, "an integer of 64 bits")
    _check(category is None or is_id(category), "category_id", category, "an integer of 64 bits")
    box = values["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not are_coordinates(box):
        raise ValueError(f"'bbox' must be 4 numbers (x, y, width, height) of up to {COORDINATE_LIMIT}")
    keypoints = _keypoints(values["keypoints"], skeleton)
    labelled = skeleton.num_keypoints - keypoints[2::3].count(0)
    is_crowd, area, declared = values.get("iscrowd", 0), values.get("area"), values.get("num_keypoints")
    _check(type(is_crowd) in (int, bool) and is_crowd in (0, 1), "iscrowd", is_crowd, "0 or 1")
    _check(area is None or (_is_finite(area) and area >= 0), "area", area, "a number of at least 0")
    counted = type(declared) is int and 0 <= declared <= skeleton.num_keypoints
    _check(declared is None or counted, "num_keypoints", declared, f"from 0 to {skeleton.num_keypoints}")
    outlines, runs = ([], None) if labelled and not is_crowd else _region(values.get("segmentation"), box)
    return Person(
        id=person_id,
        image_id=image_id,
        category=category,
        keypoints=keypoints,
        box=box,
        area=math.nan if area is None else float(area),
        is_crowd=bool(is_crowd),
        num_keypoints=labelled if declared is None else declared,
        outlines=outlines,
        runs=runs,
    )


def _keypoints(value: object, skeleton: Skeleton) -> list[float]:
    """Return 3K numbers; zeros where there are none: a person without keypoints."""
    count = 3 * skeleton.num_keypoints
    if value is None or value == []:
        return [0.0] * count
    if not isinstance(value, list) or len(value) != count or not are_coordinates(value):
        kind = f"{skeleton.num_keypoints} keypoints of {skeleton.name} x 3, of up to {COORDINATE_LIMIT}"
        raise ValueError(f"'keypoints' must be {count} numbers ({kind})")
    if not set(value[2::3]) <= {0, 1, 2}:
        raise ValueError("a visibility in 'keypoints' is not 0, 1 or 2")
    return value


def _region(segmentation: object, box: list[float]) -> tuple[list[list[float]], list[int] | None]:
    """Return outlines or run lengths of a segmentation, or the outline of the box where there is none."""
    try:
        outlines, runs = read_segmentation(segmentation)
    except ValueError as error:
        raise ValueError(f"'segmentation' is neither polygons nor an RLE ({error})") from None
    if outlines or runs is not None:
        return outlines, runs
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return [], None
    return [[x, y, x + width, y, x + width, y + height, x, y + height]], None


def _file_name(name: str, image_id: int, value: object) -> str:
    """Return a file_name, normalised, that stays in the folder of images."""
    if not isinstance(value, str) or not value or not _is_encodable(value) or min(value) < " ":
        message = f"{name} has the file_name {_shown(value)}; it must be the name of a file"
        raise UnusableEntryError(Kind.BAD_IMAGE_ENTRY, image_id, message)
    path = posixpath.normpath(value)
    if posixpath.isabs(path) or path.split("/")[0] == ".." or path == ".":
        message = f"{name} has the file_name {_shown(value)}; it must be in the folder of images"
        raise UnusableEntryError(Kind.OUTSIDE_FOLDER, image_id, message)
    return path


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def require_object(kind: Kind, where: str, entry: object, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return an entry that is an object with some keys.

    Raises:
        UnusableEntryError: If it is not.
    """
    if not isinstance(entry, Mapping):
        raise UnusableEntryError(kind, where, f"{where} is not an object with the keys {', '.join(keys)}")
    for key in keys:
        if key not in entry:
            name = entry["id"] if is_id(entry.get("id")) else where
            raise UnusableEntryError(kind, name, f"{where} lacks the key {key!r}")
    return entry


def _check(condition: bool, key: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{key!r} is {_shown(value)}; it must be {allowed}")


def is_id(value: object) -> bool:
    """Say whether a value is an integer of 64 bits."""
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # type: ignore[arg-type]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
