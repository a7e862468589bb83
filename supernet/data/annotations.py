"""The annotation JSON of a COCO-format folder: who is labelled in which image, and where nobody was labelled.

Legend: N people, K keypoints, H/W image. Points are in the image frame: x right, y down, in pixels, and pixel i covers
[i, i + 1).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from supernet.data.skeletons import Skeleton
from supernet.errors import InputError
from supernet.files import read_json

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
ByteArray = npt.NDArray[np.uint8]

IMAGE_KEYS = ("id", "file_name", "width", "height")
ANNOTATION_KEYS = ("id", "image_id", "keypoints", "bbox")


@dataclass(frozen=True, slots=True, eq=False)
class IgnoreRegions:
    """Where people are that nobody labelled: crowds, and people without keypoints.

    Attributes:
        polygons: Outlines, shape (P, 2) each: x, y in image pixels. Boxes are outlines too.
        runs: Masks of the whole image as COCO's run lengths: pixels outside, inside, outside and so on, by columns.
    """

    polygons: tuple[FloatArray, ...] = ()
    runs: tuple[IntArray, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.polygons or self.runs)

    def draw(self, width: int, height: int) -> ByteArray:
        """Return the regions as a mask, shape (height, width): 1 inside and on the outline, 0 outside."""
        mask = np.zeros((height, width), np.uint8)
        for polygon in self.polygons:
            cv2.fillPoly(mask, [np.rint(polygon - 0.5).astype(np.int32)], 1)  # cv2 has pixel centres at integers
        for runs in self.runs:
            inside = np.repeat(np.arange(len(runs), dtype=np.uint8) % 2, runs)
            mask |= inside.reshape(width, height).T
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """One image and what is annotated on it.

    Attributes:
        id: The image's id in the annotations.
        path: The image file.
        width: Width in pixels.
        height: Height in pixels.
        keypoints: Labelled people, shape (N, K, 3): x, y in image pixels and visibility (0 not labelled, 1 hidden,
            2 visible). Everyone has at least one labelled keypoint; N may be 0.
        ignore: Where people are that nobody labelled.
    """

    id: int
    path: Path
    width: int
    height: int
    keypoints: FloatArray
    ignore: IgnoreRegions = IgnoreRegions()


def read_records(annotations: Path, images: Path, skeleton: Skeleton) -> list[ImageRecord]:
    """Read a COCO keypoints JSON in the order of its images, without a look at the image files.

    Raises:
        InputError: If the file is missing or is not COCO keypoints of this skeleton; the message names file and entry.
    """
    content = read_json(annotations)
    try:
        _require_keys("the file", content, ("images", "annotations"))
        pictures = _pictures(content["images"])
        people: dict[int, list[FloatArray]] = defaultdict(list)
        unlabelled: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for position, annotation in enumerate(_entries("annotations", content["annotations"])):
            image_id, keypoints = _person(f"annotations[{position}]", annotation, skeleton)
            if image_id not in pictures:
                raise InputError(f"annotation {annotation['id']} is of the unknown image {image_id}")
            if keypoints is None:
                unlabelled[image_id].append(annotation)
            else:
                people[image_id].append(keypoints)
        regions = {image_id: _ignore_regions(entries, pictures[image_id]) for image_id, entries in unlabelled.items()}
    except InputError as error:
        raise InputError(f"{annotations}: {error}") from None
    nobody = np.zeros((0, skeleton.num_keypoints, 3), np.float32)
    nothing = IgnoreRegions()
    return [
        ImageRecord(
            id=image_id,
            path=images / picture["file_name"],
            width=picture["width"],
            height=picture["height"],
            keypoints=np.stack(people[image_id]) if image_id in people else nobody,
            ignore=regions.get(image_id, nothing),
        )
        for image_id, picture in pictures.items()
    ]


def _entries(key: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{key!r} is not a list")
    return value


def _pictures(images: object) -> dict[int, Mapping[str, Any]]:
    """Return the image entries by id."""
    pictures: dict[int, Mapping[str, Any]] = {}
    for position, picture in enumerate(_entries("images", images)):
        _require_keys(f"images[{position}]", picture, IMAGE_KEYS)
        if type(picture["id"]) is not int:
            raise InputError(f"images[{position}] has the id {picture['id']!r}; it must be an integer")
        if picture["id"] in pictures:
            raise InputError(f"two images have the id {picture['id']}")
        for side in ("width", "height"):
            if type(picture[side]) is not int or picture[side] < 1:
                raise InputError(
                    f"image {picture['id']} has the {side} {picture[side]!r}; it must be a positive integer"
                )
        pictures[picture["id"]] = picture
    if not pictures:
        raise InputError("'images' is empty")
    return pictures


def _person(where: str, annotation: Mapping[str, Any], skeleton: Skeleton) -> tuple[int, FloatArray | None]:
    """Return the image id and the keypoints, shape (K, 3); None for a crowd or a person without labelled keypoints."""
    _require_keys(where, annotation, ANNOTATION_KEYS)
    name = f"annotation {annotation['id']}"
    _numbers(f"{name}: 'bbox'", annotation["bbox"], 4, "x, y, width, height")
    kind = f"{skeleton.num_keypoints} keypoints of {skeleton.name} x 3"
    keypoints = _numbers(f"{name}: 'keypoints'", annotation["keypoints"], 3 * skeleton.num_keypoints, kind).reshape(
        -1, 3
    )
    visibility = keypoints[:, 2]
    if not np.isin(visibility, (0, 1, 2)).all():
        raise InputError(f"{name}: a visibility in 'keypoints' is not 0, 1 or 2")
    labelled = visibility.any() and not annotation.get("iscrowd", 0)
    return annotation["image_id"], keypoints if labelled else None


def _ignore_regions(annotations: Iterable[Mapping[str, Any]], picture: Mapping[str, Any]) -> IgnoreRegions:
    """Take each annotation's segmentation, or its box where it has none."""
    polygons: list[FloatArray] = []
    runs: list[IntArray] = []
    for annotation in annotations:
        segmentation = annotation.get("segmentation")
        try:
            if isinstance(segmentation, Mapping):
                runs.append(_run_lengths(segmentation, picture))
            elif segmentation:
                outlines = (np.asarray(outline, np.float32).reshape(-1, 2) for outline in segmentation)
                polygons.extend(outline for outline in outlines if len(outline) > 2)
            else:
                x, y, width, height = annotation["bbox"]
                corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
                polygons.append(np.array(corners, np.float32))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"annotation {annotation['id']}: 'segmentation' is neither polygons nor an RLE") from None
    return IgnoreRegions(tuple(polygons), tuple(runs))


def _run_lengths(rle: Mapping[str, Any], picture: Mapping[str, Any]) -> IntArray:
    """Read an RLE, whose counts are a list or, compressed, a string."""
    counts = rle["counts"]
    runs = np.array(_decompressed(counts) if isinstance(counts, str) else counts, np.int32)
    if (runs < 0).any() or runs.sum() != picture["height"] * picture["width"]:
        raise ValueError("the run lengths are not of this image")
    return runs


def _decompressed(counts: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Source: pycocotools, ``rleFrString``. A number is a row of characters of five bits, the lowest first; the sixth bit
    says that more follow, and the last one's fifth bit is the sign. From the fourth number on, each stands for its
    difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode():
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def _require_keys(where: str, value: object, keys: Sequence[str]) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is not an object with the keys {', '.join(keys)}")
    for key in keys:
        if key not in value:
            raise InputError(f"{where} lacks the key {key!r}")


def _numbers(where: str, value: object, count: int, meaning: str) -> FloatArray:
    try:
        numbers = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        numbers = np.full(0, np.nan, np.float32)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f"{where} must be {count} numbers ({meaning})")
    return numbers
