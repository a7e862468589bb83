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

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.skeletons import Skeleton

ByteArray = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int32]
LongArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]


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


class Groups:
    """Items by the group each belongs to (``owners``, from 0), in their order."""

    def __init__(self, owners: npt.NDArray[np.integer[Any]], count: int) -> None:
        self._order = np.argsort(owners, kind="stable").astype(np.int32)
        self._ends = np.cumsum(np.bincount(owners, minlength=count))

    def __getitem__(self, group: int) -> IntArray:
        return self._order[self._ends[group - 1] if group else 0 : self._ends[group]]


@dataclass(frozen=True, eq=False)
class Regions:
    """Outlines and masks, one after the other.

    Attributes:
        values: Their numbers: x and y of an outline's points in turn, or a mask's run lengths.
        ends: Where each ends in ``values``, shape (G,).
        owners: The annotation of each, by its place, shape (G,).
        are_masks: Which are masks, shape (G,).
    """

    values: DoubleArray
    ends: LongArray
    owners: IntArray
    are_masks: BoolArray

    def __getitem__(self, region: int) -> DoubleArray:
        return self.values[self.ends[region - 1] if region else 0 : self.ends[region]]

    def only(self, owners: BoolArray) -> Self:
        """Return those of some annotations, shape (A,), whose places are then counted without the others."""
        kept = owners[self.owners]
        lengths = np.diff(self.ends, prepend=0)
        return type(self)(
            self.values[np.repeat(kept, lengths)],
            np.cumsum(lengths[kept]),
            (np.cumsum(owners, dtype=np.int32) - 1)[self.owners[kept]],
            self.are_masks[kept],
        )


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
        regions: Where crowds and people without keypoints are: polygons or masks; boxes where there are none.
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
    regions: Regions
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
        regions, places = self.regions, self._regions_by_image[image]
        return IgnoreRegions(
            tuple(regions[i].astype(np.float32).reshape(-1, 2) for i in places if not regions.are_masks[i]),
            tuple(regions[i].astype(np.int32) for i in places if regions.are_masks[i]),
        )

    def only(self, usable: BoolArray) -> Self:
        """Return the content with some of the annotations, shape (A,), and their regions."""
        rows = ("ids", "images", "keypoints", "boxes", "areas", "crowds", "num_keypoints")
        kept = {name: getattr(self, name)[usable] for name in rows}
        return replace(self, **kept, regions=self.regions.only(usable))

    def with_keypoints_of(self, skeleton: Skeleton, joints: Sequence[bool]) -> Self:
        """Return the content with the K keypoints of another skeleton, of which ``joints`` are here too.

        Who has none of them labelled has none by ``num_keypoints`` either.
        """
        keypoints = np.zeros((len(self.ids), skeleton.num_keypoints, 3), np.float32)
        shared = np.flatnonzero(joints)
        own = [self.skeleton.keypoints.index(skeleton.keypoints[index]) for index in shared]
        keypoints[:, shared] = self.keypoints[:, own]
        labelled = np.count_nonzero(keypoints[:, :, 2] > 0, axis=1).astype(np.int32)
        counts = np.minimum(self.num_keypoints, labelled)
        return replace(self, skeleton=skeleton, keypoints=keypoints, num_keypoints=counts)

    @cached_property
    def _by_image(self) -> Groups:
        return Groups(self.images, len(self.image_ids))

    @cached_property
    def _regions_by_image(self) -> Groups:
        return Groups(self.images[self.regions.owners], len(self.image_ids))


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
        folder: The folder of images, which may be absent.
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
            return self.take(range(len(self))[index])
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
        return type(self)(self.annotations, self.folder, self.places[list(indices)])


def repeats(values: npt.NDArray[Any]) -> BoolArray:
    """Return which values are those of an earlier place."""
    repeated = np.ones(len(values), bool)
    repeated[np.unique(values, return_index=True)[1]] = False
    return repeated
