"""YOLO-pose: a ``data.yaml`` and, for every image, a text file with a line a person.

Source: Ultralytics, "Pose estimation datasets". A line is the class, the box's centre, width and height, then x, y and,
if ``kpt_shape`` says three, the visibility of each keypoint, all but class and visibility as shares of the image. The
labels of ``.../images/a/b.jpg`` are in ``.../labels/a/b.txt``; an image without such a file shows nobody.

Legend: K keypoints.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from litepose_ofa.supernet.data.imports.dataset import (
    IMAGE_SUFFIXES,
    NO_SIDES,
    SIDES_BY_NAME,
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    in_pixels,
    pairs_by_name,
    skeleton_of,
    stored_size,
)
from litepose_ofa.supernet.errors import InputError, located, require, shown
from litepose_ofa.supernet.files import read_text, read_yaml
from litepose_ofa.supernet.validation import Allowed, Checked, validate

_BOX = ("the box's x", "the box's y", "the box's width", "the box's height")
_NOT_LABELS = "classes.txt"
"""What some tools put beside the label files."""

MOST_KEYPOINTS = 1000
_SHAPE_WORDS = f"two integers: 1 to {MOST_KEYPOINTS} keypoints, and 2 or 3 values of each"
_Places = Annotated[str | list[str] | None, Allowed("a folder of images, a .txt file that lists them, or several")]


class _DataFile(Checked):
    """The keys of ``data.yaml`` that are read."""

    kpt_shape: Annotated[list[int], Allowed(_SHAPE_WORDS)]
    names: Annotated[list[str] | dict[int, str], Allowed("names of classes: a list, or a mapping from numbers from 0")]
    train: _Places
    val: _Places = None
    test: _Places = None
    path: Annotated[str | None, Allowed("a folder")] = None
    flip_idx: Annotated[list[int] | None, Allowed("a list of integers")] = None
    kpt_names: Annotated[dict[int, list[str]] | None, Allowed("a mapping from classes to lists of names")] = None

    def keypoints(self) -> list[str]:
        """Return the names of the keypoints, the same for every class; numbered ones where the file has none."""
        count = self.kpt_shape[0] if len(self.kpt_shape) == 2 else 0
        fits = 0 < count <= MOST_KEYPOINTS and self.kpt_shape[1] in (2, 3)
        require(fits, "kpt_shape", self.kpt_shape, _SHAPE_WORDS)
        names = self.kpt_names or {0: [f"keypoint_{number}" for number in range(count)]}
        first = next(iter(names.values()))
        same = len(first) == count and all(others == first for others in names.values())
        require(same, "kpt_names", self.kpt_names, f"{count} names, the same for every class")
        return first

    def flip_pairs(self) -> list[tuple[int, int]]:
        """Return what ``flip_idx`` swaps, by places from 0."""
        indices = self.flip_idx or []
        count = self.kpt_shape[0]
        fits = len(indices) in (0, count) and all(0 <= other < count for other in indices)
        is_mirror = fits and all(indices[other] == place for place, other in enumerate(indices))
        allowed = f"{count} integers from 0 to {count - 1}, each the place of the mirrored keypoint"
        require(is_mirror, "flip_idx", indices, allowed)
        return [(place, other) for place, other in enumerate(indices) if place < other]

    def classes(self) -> list[str]:
        """Return the names of the classes in their order."""
        if isinstance(self.names, list):
            return self.names
        require(
            sorted(self.names) == [*range(len(self.names))], "names", self.names, "a mapping from 0, 1, 2 and so on"
        )
        return [self.names[number] for number in range(len(self.names))]


@dataclass(frozen=True, slots=True)
class _Lines:
    """How a line of a label file is read.

    Attributes:
        order: Where the line has each of the skeleton's keypoints, K places.
        dims: Values of a keypoint: 2, or 3 with visibility.
        classes: How many there are.
    """

    order: Sequence[int]
    dims: int
    classes: int

    def people(self, path: Path, size: tuple[int, int]) -> Iterator[ImportedPerson]:
        """Yield the people of a label file; ``size`` is the image's width and height."""
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if line.strip():
                with located(f"{path}:{number}"):
                    yield self._person(line.split(), size)

    def _person(self, words: list[str], size: tuple[int, int]) -> ImportedPerson:
        expected = 5 + len(self.order) * self.dims
        require(len(words) == expected, "the number of values", len(words), f"{expected}: class, box and keypoints")
        try:
            values = [float(word) for word in words]
        except ValueError:
            raise InputError(f"{shown(' '.join(words))} is not numbers") from None
        require(values[0] in range(self.classes), "the class", words[0], f"an integer from 0 to {self.classes - 1}")
        x, y, width, height = (
            in_pixels(value, 1, size[place % 2], _BOX[place]) for place, value in enumerate(values[1:5])
        )
        points = [values[start : start + self.dims] for start in range(5, expected, self.dims)]
        keypoints = [_keypoint(place, points[place], size) for place in self.order]
        box = (x - width / 2, y - height / 2, width, height)
        return ImportedPerson(np.array(keypoints), box, int(values[0]))


def _keypoint(place: int, values: list[float], size: tuple[int, int]) -> tuple[float, float, float]:
    """Return x, y and visibility; of two values, 0 0 stands for a keypoint that is not labelled."""
    visibility = values[2] if len(values) == 3 else 2.0 * any(values)
    require(visibility in (0, 1, 2), f"the visibility of keypoint {place}", visibility, "0, 1 or 2")
    if not visibility:
        return 0, 0, 0
    x, y = (in_pixels(values[axis], 1, size[axis], f"the {'xy'[axis]} of keypoint {place}") for axis in (0, 1))
    return x, y, visibility


def read_yolo(path: Path) -> ImportedDataset:
    """Read a YOLO-pose dataset: its ``data.yaml``, or the folder that this is in.

    Raises:
        InputError: If a file is missing or is not as it must be; the message names file and line.
    """
    path = path / "data.yaml" if path.is_dir() else path
    content = read_yaml(path)
    require(isinstance(content, dict), f"{path}: the content", content, "a mapping with kpt_shape, names and train")
    file = validate(_DataFile, {key: content[key] for key in _DataFile.model_fields if key in content}, str(path))
    with located(path):
        names, classes, pairs = file.keypoints(), file.classes(), file.flip_pairs()
        skeleton = skeleton_of(names, pairs or pairs_by_name(names))
    doubts = []
    if not pairs:
        said = "flip_idx swaps nothing" if file.flip_idx else "flip_idx is missing"
        doubts.append(f"{path}: {said}; {SIDES_BY_NAME if skeleton.flip_pairs else NO_SIDES}")
    lines = _Lines([names.index(name) for name in skeleton.keypoints], file.kpt_shape[1], len(classes))
    splits = {}
    for split in ("train", "val", "test"):
        images = [
            image for place in _listed(getattr(file, split)) for image in _images(path, file, split, place, lines)
        ]
        if any(image.people for image in images):
            splits[split] = images
        elif split == "train":
            raise InputError(f"{path}: no image of train has labels")
        elif images:
            doubts.append(f"{path}: no image of {split} has labels: it is left out")
    return ImportedDataset(skeleton, splits, classes, doubts)


def _listed(places: str | list[str] | None) -> list[str]:
    return [places] if isinstance(places, str) else places or []


def _images(path: Path, file: _DataFile, split: str, place: str, lines: _Lines) -> Iterator[ImportedImage]:
    """Yield the images of a folder, or of a text file that lists them, with their people."""
    source = _find(path, file, place)
    if source.is_dir():
        images = {image: image.relative_to(source) for image in sorted(source.rglob("*")) if _is_image(image)}
        _require_images(source, images)
    else:
        listed = [source.parent / line.strip() for line in read_text(source).splitlines() if line.strip()]
        images = {image: Path(*image.parts[_after_images(image) :]) for image in listed}
    for image, name in images.items():
        size, labels = stored_size(image), _labels(image).with_suffix(".txt")
        people = [*lines.people(labels, size)] if labels.exists() else []
        yield ImportedImage(image, f"{split}/{name.as_posix()}", size, people)


def _find(path: Path, file: _DataFile, place: str) -> Path:
    """Return what a split names, from ``path:`` or the YAML's folder; of Roboflow's ``../`` only the rest is there."""
    folders = [path.parent / (file.path or ""), path.parent]
    found = [folder / name for folder in folders for name in (place, place.removeprefix("../"))]
    there = next((each for each in found if each.exists()), None)
    if there is None:
        raise InputError(f"{path}: {found[0]}: no such folder of images, nor a file that lists them")
    return there


def _after_images(path: Path) -> int:
    """Return which part of a path follows its last folder ``images``; the last part if there is none."""
    return next((place + 1 for place in range(len(path.parts) - 1, -1, -1) if path.parts[place] == "images"), -1)


def _labels(path: Path) -> Path:
    """Return where the labels of a file or a folder of images are; beside it where no folder is called ``images``."""
    after = _after_images(path)
    return path if after == -1 else Path(*path.parts[: after - 1], "labels", *path.parts[after:])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _require_images(folder: Path, images: Mapping[Path, Path]) -> None:
    """Refuse labels without an image."""
    labels = _labels(folder)
    known = {labels / name.with_suffix(".txt") for name in images.values()} | {labels / _NOT_LABELS}
    orphan = min((path for path in labels.rglob("*.txt") if path not in known), default=None)
    if orphan is not None:
        raise InputError(f"{orphan}: has no image in {folder}")
