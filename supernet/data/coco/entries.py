"""The entries of an annotation file, checked and put into columns: images, annotations, categories."""

import math
import os
import posixpath
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from litepose_ofa.supernet.data.coco.ignore_regions import COORDINATE_LIMIT, are_coordinates, read_segmentation
from litepose_ofa.supernet.data.findings import Finding, Kind
from litepose_ofa.supernet.data.image_files import MAX_PIXELS
from litepose_ofa.supernet.data.skeletons import Skeleton

NO_CATEGORY = -(1 << 63)

_SHOWN = 60


class UnusableEntryError(Exception):
    """An entry that cannot be used; ``finding`` says why."""

    def __init__(self, kind: Kind, entry: int | str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(kind, entry, message)


class ImageColumns:
    """Columns of ``images``; the crowd index is NaN where an image has none."""

    def __init__(self) -> None:
        self.ids = array("q")
        self.names: list[str] = []
        self.sizes = array("i")
        self.crowd_index = array("d")
        self._ids: set[int] = set()
        self._names: set[str] = set()

    def add(self, position: int, entry: object) -> None:
        """Check an entry and append it.

        Raises:
            UnusableEntryError: If it cannot be used.
        """
        kind, where = Kind.BAD_IMAGE_ENTRY, f"images[{position}]"
        values = _object(kind, where, entry, ("id", "file_name", "width", "height"))
        image_id, width, height = (values[key] for key in ("id", "width", "height"))
        crowd_index = values.get("crowdIndex")
        _require_id(kind, where, image_id)
        name = f"image {image_id}"
        for side in ("width", "height"):
            if type(values[side]) is not int or not 1 <= values[side] <= COORDINATE_LIMIT:
                message = f"{name} has the {side} {_shown(values[side])}; it must be a positive integer of up to 2^20"
                raise UnusableEntryError(kind, image_id, message)
        if width * height > MAX_PIXELS:
            message = f"{name} has {width} x {height} pixels; at most {MAX_PIXELS} are read"
            raise UnusableEntryError(kind, image_id, message)
        if crowd_index is not None and not _is_finite(crowd_index):
            message = f"{name} has the crowdIndex {_shown(crowd_index)}; it must be a number"
            raise UnusableEntryError(kind, image_id, message)
        file_name = _file_name(name, image_id, values["file_name"])
        if image_id in self._ids:
            raise UnusableEntryError(Kind.DUPLICATE_IMAGE_ID, image_id, f"two images have the id {image_id}")
        if file_name in self._names:
            message = f"{name} has the file of another, {file_name}"
            raise UnusableEntryError(Kind.DUPLICATE_FILE, image_id, message)
        self._ids.add(image_id)
        self._names.add(file_name)
        self.ids.append(image_id)
        self.names.append(file_name)
        self.sizes.extend((width, height))
        self.crowd_index.append(math.nan if crowd_index is None else crowd_index)


class PersonColumns:
    """Columns of ``annotations``; the area is NaN where an annotation has none.

    Regions (outlines and run lengths) are those of crowds and of people without keypoints alone.

    Args:
        skeleton: The keypoints that people must have.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self.ids, self.image_ids, self.categories = array("q"), array("q"), array("q")
        self.keypoints, self.boxes, self.areas = array("f"), array("d"), array("d")
        self.crowds, self.num_keypoints = array("b"), array("i")
        self.points, self.point_ends, self.outline_owners = array("f"), array("q"), array("i")
        self.runs, self.run_ends, self.run_owners = array("i"), array("q"), array("i")

    def add(self, position: int, entry: object) -> None:
        """Check an entry and append it.

        Raises:
            UnusableEntryError: If it cannot be used.
        """
        where = f"annotations[{position}]"
        values = _object(Kind.BAD_ANNOTATION, where, entry, ("id", "image_id", "keypoints", "bbox"))
        person_id = values["id"]
        _require_id(Kind.BAD_ANNOTATION, where, person_id)
        try:
            self._add(person_id, values)
        except ValueError as error:
            message = f"annotation {person_id}: {error}"
            raise UnusableEntryError(Kind.BAD_ANNOTATION, person_id, message) from None

    def _add(self, person_id: int, values: Mapping[str, Any]) -> None:
        get, count = values.get, self._skeleton.num_keypoints
        image_id, category, box = values["image_id"], get("category_id"), values["bbox"]
        is_crowd, area, declared = get("iscrowd", 0), get("area"), get("num_keypoints")
        _check(_is_id(image_id), "image_id", image_id, "an integer of 64 bits")
        _check(category is None or _is_id(category), "category_id", category, "an integer of 64 bits")
        if not isinstance(box, list) or len(box) != 4 or not are_coordinates(box):
            raise ValueError(f"'bbox' must be 4 numbers (x, y, width, height) of up to {COORDINATE_LIMIT}")
        keypoints = self._keypoints(values["keypoints"])
        labelled = count - keypoints[2::3].count(0)
        _check(type(is_crowd) in (int, bool) and is_crowd in (0, 1), "iscrowd", is_crowd, "0 or 1")
        _check(area is None or (_is_finite(area) and area >= 0), "area", area, "a number of at least 0")
        counted = type(declared) is int and 0 <= declared <= count
        _check(declared is None or counted, "num_keypoints", declared, f"from 0 to {count}")
        outlines, runs = ([], None) if labelled and not is_crowd else _region(get("segmentation"), box)
        row = len(self.ids)
        self.ids.append(person_id)
        self.image_ids.append(image_id)
        self.categories.append(NO_CATEGORY if category is None else category)
        self.keypoints.extend(keypoints)
        self.boxes.extend(box)
        self.areas.append(math.nan if area is None else area)
        self.crowds.append(is_crowd)
        self.num_keypoints.append(labelled if declared is None else declared)
        for outline in outlines:
            self.points.extend(outline)
            self.point_ends.append(len(self.points))
            self.outline_owners.append(row)
        if runs is not None:
            self.runs.extend(runs)
            self.run_ends.append(len(self.runs))
            self.run_owners.append(row)

    def _keypoints(self, value: object) -> list[float]:
        """Return 3K numbers; zeros where there are none: a person without keypoints."""
        count = 3 * self._skeleton.num_keypoints
        if value is None or value == []:
            return [0.0] * count
        if not isinstance(value, list) or len(value) != count or not are_coordinates(value):
            kind = f"{count // 3} keypoints of {self._skeleton.name} x 3, of up to {COORDINATE_LIMIT}"
            raise ValueError(f"'keypoints' must be {count} numbers ({kind})")
        if not set(value[2::3]) <= {0, 1, 2}:
            raise ValueError("a visibility in 'keypoints' is not 0, 1 or 2")
        return value


class Categories:
    """The categories of a file, of which some have the skeleton's keypoints.

    Args:
        skeleton: The keypoints to look for.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self._keypoints: dict[int, list[str] | None] = {}
        self._names: dict[int, object] = {}

    def add(self, position: int, entry: object) -> None:
        """Check an entry of ``categories``.

        Raises:
            UnusableEntryError: If it cannot be used.
        """
        where = f"categories[{position}]"
        values = _object(Kind.BAD_CATEGORIES, where, entry, ("id",))
        keypoints = values.get("keypoints")
        named = isinstance(keypoints, list) and all(isinstance(name, str) for name in keypoints)
        if not _is_id(values["id"]) or not (keypoints is None or named):
            message = f"{where} must have an integer as its id, and names as its keypoints or none"
            raise UnusableEntryError(Kind.BAD_CATEGORIES, where, message)
        self._keypoints[values["id"]] = keypoints
        self._names[values["id"]] = values.get("name")

    def __contains__(self, category: int) -> bool:
        return category in self._keypoints

    def __bool__(self) -> bool:
        return bool(self._keypoints)

    def people(self) -> set[int]:
        """Return the ids of those whose annotations are people of the skeleton.

        Those with the skeleton's number of keypoints; where none has keypoints, those named "person"; else all.

        Raises:
            UnusableEntryError: If there are keypoints, but of another number.
        """
        posed = {category: names for category, names in self._keypoints.items() if names}
        fitting = {category for category, names in posed.items() if len(names) == self._skeleton.num_keypoints}
        if posed and not fitting:
            counts = " or ".join(sorted({str(len(names)) for names in posed.values()}))
            message = f"'categories' has {counts} keypoints; {self._skeleton.name} has {self._skeleton.num_keypoints}"
            raise UnusableEntryError(Kind.BAD_CATEGORIES, "categories", message)
        persons = {category for category, name in self._names.items() if name == "person"}
        return fitting or persons or set(self._keypoints)

    def other_names(self) -> Finding | None:
        """Return a finding if no category has the skeleton's names, in its order."""
        own = list(self._skeleton.keypoints)
        fitting = [names for names in self._keypoints.values() if names and len(names) == len(own)]
        if not fitting or own in fitting:
            return None
        expected, found = next(pair for pair in zip(own, fitting[0], strict=True) if pair[0] != pair[1])
        message = f"'categories' has the keypoint {found!r} where {self._skeleton.name} has {expected!r}"
        return Finding(Kind.OTHER_KEYPOINT_NAMES, "categories", message)


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


def _object(kind: Kind, where: str, entry: object, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return an entry that is an object with some keys."""
    if not isinstance(entry, dict):
        raise UnusableEntryError(kind, where, f"{where} is not an object with the keys {', '.join(keys)}")
    for key in keys:
        if key not in entry:
            name = entry["id"] if _is_id(entry.get("id")) else where
            raise UnusableEntryError(kind, name, f"{where} lacks the key {key!r}")
    return entry


def _require_id(kind: Kind, where: str, value: object) -> None:
    if not _is_id(value):
        message = f"{where} has the id {_shown(value)}; it must be an integer of 64 bits"
        raise UnusableEntryError(kind, where, message)


def _check(condition: bool, key: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{key!r} is {_shown(value)}; it must be {allowed}")


def _is_id(value: object) -> bool:
    return type(value) is int and -(1 << 63) <= value < 1 << 63


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # type: ignore[arg-type]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
