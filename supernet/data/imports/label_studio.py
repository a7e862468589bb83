"""Label Studio's JSON export, beside its images: keypoints, and rectangles that tell people apart, in percentages.

Source: Label Studio, "Export annotations", and its tags KeyPointLabels and RectangleLabels. A keypoint is of the
rectangle that is its parent; without a parent, of the smallest that it is in, else of the nearest. It is visible: the
format has no word for another state.

Legend: K keypoints.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
import numpy as np

from litepose_ofa.supernet.data.imports.dataset import (
    IMAGE_SUFFIXES,
    NO_SIDES,
    Box,
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    box_around,
    in_pixels,
    pairs_by_name,
    skeleton_of,
    stored_size,
)
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.files import read_json

T = TypeVar("T")

UPLOAD = re.compile(r"\A[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""


class _Annotation(msgspec.Struct):
    result: list[dict[str, Any]]
    was_cancelled: bool = False


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation]
    id: int | str = "?"


class _Value(msgspec.Struct):
    """Where a region is, in percentages of the image."""

    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    rotation: float = 0.0
    keypointlabels: list[str] = []
    rectanglelabels: list[str] = []


class _Region(msgspec.Struct):
    value: _Value
    original_width: int
    original_height: int
    id: str | None = None
    parent: str | None = msgspec.field(default=None, name="parentID")
    image_rotation: float = 0.0


@dataclass
class _Person:
    """A rectangle in pixels, None where the only person of an image has none, and the keypoints of it by name."""

    box: Box | None = None
    category: str = "person"
    keypoints: dict[str, tuple[float, float]] = field(default_factory=dict)

    def distance(self, x: float, y: float) -> tuple[float, float]:
        """Return by how many pixels a point is outside of the rectangle, and the rectangle's area."""
        if self.box is None:
            return 0.0, math.inf
        left, top, width, height = self.box
        return max(left - x, x - left - width, top - y, y - top - height, 0.0), width * height


@dataclass(frozen=True)
class _Picture:
    path: Path
    size: tuple[int, int]
    people: Sequence[_Person]


def read_label_studio(path: Path) -> ImportedDataset:
    """Read an export of the kind "JSON"; the images are in the file's folder or below it.

    Of a task's annotations the first that was not cancelled counts. Keypoints and categories come in the order in which
    the file has them first; rectangles of a label that nowhere has keypoints are left out.

    Raises:
        InputError: If a file is missing or is not as it must be; the message names the task.
    """
    with located(path):
        tasks = _converted(read_json(path), list[_Task], "it")
    files = _images_below(path.parent)
    pictures, doubts = [], defaultdict(list)
    for task in tasks:
        given = [annotation for annotation in task.annotations if not annotation.was_cancelled]
        if not given:
            doubts["no annotation: left out"].append(task.id)
            continue
        if len(given) > 1:
            doubts["several annotations: the first counts"].append(task.id)
        with located(f"{path}: task {task.id}"):
            image = _find(task.data, files)
            size = stored_size(image)
            people, is_sure = _people(given[0].result, size)
        pictures.append(_Picture(image, size, people))
        if not is_sure:
            doubts["a keypoint without parent that is not in one rectangle: the nearest has it"].append(task.id)
    names = list(dict.fromkeys(name for picture in pictures for one in picture.people for name in one.keypoints))
    require(bool(names), f"{path}: the number of keypoints", 0, "at least 1: regions of the type keypointlabels")
    with located(path):
        skeleton = skeleton_of(names, pairs_by_name(names))
    found = [f"{path}: {len(ids)} tasks have {what} (task {ids[0]} is the first)" for what, ids in doubts.items()]
    if not skeleton.flip_pairs:
        found.append(f"{path}: {NO_SIDES}")
    categories = list(dict.fromkeys(one.category for each in pictures for one in each.people if one.keypoints))
    images = [_imported(picture, path.parent, skeleton, categories) for picture in pictures]
    return ImportedDataset(skeleton, {"train": images}, categories, found)


def _converted(value: object, model: type[T], what: str) -> T:
    try:
        return msgspec.convert(value, model)
    except msgspec.ValidationError as error:
        raise InputError(f"{what} is not of Label Studio's export JSON ({error})") from None
    except UnicodeEncodeError:
        raise InputError(f"{what} has a text with half a surrogate pair") from None


def _images_below(folder: Path) -> dict[str, list[Path]]:
    files = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            files[path.name].append(path)
    return dict(files)


def _find(data: Mapping[str, Any], files: Mapping[str, Sequence[Path]]) -> Path:
    """Return the file of a task's image, which is given as an upload, an address, or a local file behind ``?d=``."""
    texts = (value.partition("?d=") for value in data.values() if isinstance(value, str))
    places = [PurePosixPath(unquote(re.split("[?&#]", local or before)[0])) for before, _, local in texts]
    place = next((place for place in places if place.suffix.lower() in IMAGE_SUFFIXES), None)
    if place is None:
        raise InputError(f"'data' names no image; the suffixes are {', '.join(sorted(IMAGE_SUFFIXES))}")
    found = files.get(place.name) or files.get(UPLOAD.sub("", place.name), [])
    if len(found) > 1:
        found = [path for path in found if path.as_posix().endswith(f"/{place.as_posix().lstrip('/')}")]
    if len(found) != 1:
        raise InputError(f"its image {place.name} must be once below the export's folder, and is not")
    return found[0]


def _people(result: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> tuple[list[_Person], bool]:
    """Return the people of an annotation, and whether it is sure whose each keypoint is."""
    kinds = ("keypointlabels", "rectanglelabels")
    regions = [_converted(entry, _Region, f"{entry['type']}") for entry in result if entry.get("type") in kinds]
    for region in regions:
        given = (region.original_width, region.original_height)
        require(given == size, "original_width, original_height", given, f"the image file's, {size}")
        upright = not (region.value.rotation or region.image_rotation)
        require(upright, "a rotation", region.value.rotation or region.image_rotation, "0: store the image upright")
    rectangles = [(region.id, _rectangle(region.value, size)) for region in regions if region.value.rectanglelabels]
    people = [person for _, person in rectangles] or [_Person()]
    by_id = {id: person for id, person in rectangles if id is not None}
    points = [(name, region) for region in regions for name in region.value.keypointlabels]
    is_sure = True
    for name, region in sorted(points, key=lambda point: point[1].parent not in by_id):  # the sure ones first
        x = in_pixels(region.value.x, 100, size[0], f"the x of {name!r}")
        y = in_pixels(region.value.y, 100, size[1], f"the y of {name!r}")
        parent = by_id.get(region.parent or "")
        free = [person for person in ([parent] if parent else people) if name not in person.keypoints]
        if not free:
            raise InputError(
                f"a second keypoint {name!r} of one person; a rectangle around each person tells them apart"
            )
        is_sure &= parent is not None or sum(person.distance(x, y)[0] == 0 for person in people) == 1
        min(free, key=lambda person: person.distance(x, y)).keypoints[name] = (x, y)
    return [person for person in people if person.box or person.keypoints], is_sure


def _rectangle(value: _Value, size: tuple[int, int]) -> _Person:
    corners = ((value.x, value.y), (value.x + value.width, value.y + value.height))
    (left, top), (right, bottom) = (
        [in_pixels(part, 100, side, "a side of a rectangle") for part, side in zip(corner, size, strict=True)]
        for corner in corners
    )
    return _Person((left, top, right - left, bottom - top), value.rectanglelabels[0])


def _imported(picture: _Picture, folder: Path, skeleton: Skeleton, categories: Sequence[str]) -> ImportedImage:
    people = []
    for person in picture.people:
        if person.category in categories:
            found = [
                (*person.keypoints[name], 2) if name in person.keypoints else (0, 0, 0) for name in skeleton.keypoints
            ]
            keypoints = np.array(found, np.float64)
            box = person.box or box_around(keypoints, picture.size)
            people.append(ImportedPerson(keypoints, box, categories.index(person.category)))
    return ImportedImage(picture.path, picture.path.relative_to(folder).as_posix(), picture.size, people)
