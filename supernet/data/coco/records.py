"""The content of an annotation file as arrays, and an image at a time: who is in it, and where nobody was labelled.

Arrays take about 260 bytes an annotation of 17 keypoints, beside its regions.

Legend: I images, A annotations, N people of an image, K keypoints, G regions. Frame: the image: x right, y down, in
pixels, and pixel i covers [i, i + 1).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.ignore_regions import FloatArray, IgnoreRegions, IntArray
from litepose_ofa.supernet.data.skeletons import Skeleton

DoubleArray = npt.NDArray[np.float64]
LongArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Groups:
    """Items by the group each belongs to (``owners``, from 0), in their order."""

    def __init__(self, owners: npt.NDArray[np.integer[Any]], count: int) -> None:
        self._order = np.argsort(owners, kind="stable").astype(np.int32)
        self._ends = np.cumsum(np.bincount(owners, minlength=count))

    def __getitem__(self, group: int) -> IntArray:
        return self._order[self._ends[group - 1] if group else 0 : self._ends[group]]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows of different lengths: their values one after the other, and where each ends."""

    values: npt.NDArray[Any]
    ends: LongArray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        return self.values[self.ends[row - 1] if row else 0 : self.ends[row]]

    def only(self, rows: npt.NDArray[np.intp]) -> Self:
        """Return some of the rows."""
        parts = [self[row] for row in rows.tolist()]
        values = np.concatenate(parts) if parts else self.values[:0]
        return type(self)(values, np.cumsum([len(part) for part in parts], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Annotations:
    """An annotation file that was read and checked.

    Attributes:
        skeleton: The keypoints.
        image_ids: Ids of the images, shape (I,).
        file_names: Their files, from the folder of images.
        sizes: Their width and height, shape (I, 2).
        crowd_index: How crowded they are by CrowdPose, shape (I,); NaN where the file does not say.
        ids: Ids of the annotations, shape (A,).
        images: The image of each, by its place in ``image_ids``, shape (A,).
        keypoints: x, y and visibility (0 not labelled, 1 hidden, 2 visible), shape (A, K, 3).
        boxes: x, y, width, height, shape (A, 4).
        areas: Areas in square pixels, shape (A,); NaN where the file does not say.
        crowds: Whether it is a crowd, shape (A,).
        num_keypoints: Labelled keypoints by the file, shape (A,); by count where it does not say.
        outlines: Polygons of crowds and of people without keypoints, x and y in turn; boxes where there are none.
        outline_owners: The annotation of each, by its place, shape (G,).
        runs: Their run lengths.
        run_owners: The annotation of each, by its place, shape (G,).
        categories: The category ids that people have, in rising order; where nobody has one, that of a person.
    """

    skeleton: Skeleton
    image_ids: LongArray
    file_names: list[str]
    sizes: IntArray
    crowd_index: DoubleArray
    ids: LongArray
    images: IntArray
    keypoints: FloatArray
    boxes: DoubleArray
    areas: DoubleArray
    crowds: BoolArray
    num_keypoints: IntArray
    outlines: Ragged
    outline_owners: IntArray
    runs: Ragged
    run_owners: IntArray
    categories: tuple[int, ...] = (1,)

    @cached_property
    def labelled(self) -> BoolArray:
        """Whether it is a person with a labelled keypoint, shape (A,): one to train on."""
        return (self.keypoints[:, :, 2] > 0).any(axis=1) & ~self.crowds

    def of_image(self, image: int) -> IntArray:
        """Return the annotations of an image, by their places, in the order of the file."""
        return self._by_image[image]

    def ignore_regions(self, image: int) -> IgnoreRegions:
        """Return where people of an image are that nobody labelled."""
        outlines, runs = self._outlines_by_image[image], self._runs_by_image[image]
        polygons = tuple(self.outlines[row].reshape(-1, 2) for row in outlines)
        return IgnoreRegions(polygons, tuple(self.runs[row] for row in runs))

    def only(self, usable: BoolArray) -> Self:
        """Return the content with some of the annotations, shape (A,), and their regions."""
        places = np.cumsum(usable, dtype=np.int32) - 1
        outlines, runs = (np.flatnonzero(usable[owners]) for owners in (self.outline_owners, self.run_owners))
        rows = ("ids", "images", "keypoints", "boxes", "areas", "crowds", "num_keypoints")
        return replace(
            self,
            **{name: getattr(self, name)[usable] for name in rows},
            outlines=self.outlines.only(outlines),
            outline_owners=places[self.outline_owners[outlines]],
            runs=self.runs.only(runs),
            run_owners=places[self.run_owners[runs]],
        )

    @cached_property
    def _by_image(self) -> Groups:
        return Groups(self.images, len(self.image_ids))

    @cached_property
    def _outlines_by_image(self) -> Groups:
        return Groups(self.images[self.outline_owners], len(self.image_ids))

    @cached_property
    def _runs_by_image(self) -> Groups:
        return Groups(self.images[self.run_owners], len(self.image_ids))


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
    ignore: IgnoreRegions = field(default_factory=IgnoreRegions)


class AnnotatedImages(Sequence[ImageRecord]):
    """The images of an annotation file; each record is made from its arrays when it is asked for.

    Args:
        annotations: The file's content.
        folder: The folder of images.
        places: Which images, by their places in the file; all if None.
    """

    def __init__(self, annotations: Annotations, folder: Path, places: LongArray | None = None) -> None:
        self.annotations = annotations
        self.folder = folder
        self.places = np.arange(len(annotations.image_ids)) if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> ImageRecord | Self:
        if isinstance(index, slice):
            return self._of(self.places[index])
        content, image = self.annotations, int(self.places[index])
        rows = content.of_image(image)
        width, height = content.sizes[image].tolist()
        return ImageRecord(
            id=int(content.image_ids[image]),
            path=self.folder / content.file_names[image],
            width=width,
            height=height,
            keypoints=content.keypoints[rows[content.labelled[rows]]],
            ignore=content.ignore_regions(image),
        )

    @property
    def file_names(self) -> list[str]:
        """The files of the images, from their folder."""
        return [self.annotations.file_names[place] for place in self.places.tolist()]

    def take(self, indices: Iterable[int]) -> Self:
        """Return some of the images."""
        return self._of(self.places[list(indices)])

    def _of(self, places: LongArray) -> Self:
        return type(self)(self.annotations, self.folder, places)
