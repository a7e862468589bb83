"""The content of an annotation file as arrays: about 260 bytes an annotation of 17 keypoints, beside its regions.

Legend: I images, A annotations, K keypoints, G regions. Frame: the image, in pixels.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.ignore_regions import FloatArray, IgnoreRegions, IntArray
from litepose_ofa.supernet.data.skeletons import Skeleton

DoubleArray = npt.NDArray[np.float64]
LongArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Groups:
    """Items by the group each belongs to, in their order.

    Args:
        owners: The group of every item, from 0.
        count: Number of groups.
    """

    def __init__(self, owners: npt.NDArray[np.integer[Any]], count: int) -> None:
        self._order = np.argsort(owners, kind="stable").astype(np.int32)
        self._ends = np.cumsum(np.bincount(owners, minlength=count))

    def __getitem__(self, group: int) -> IntArray:
        """Return the items of a group."""
        return self._order[self._ends[group - 1] if group else 0 : self._ends[group]]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows of different lengths.

    Attributes:
        values: The rows one after the other.
        ends: Where each ends in ``values``.
    """

    values: npt.NDArray[Any]
    ends: LongArray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """Return a row."""
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
        return IgnoreRegions(
            tuple(self.outlines[row].reshape(-1, 2) for row in self._outlines_by_image[image]),
            tuple(self.runs[row] for row in self._runs_by_image[image]),
        )

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
