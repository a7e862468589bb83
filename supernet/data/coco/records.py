"""The annotations of a COCO-format folder, an image at a time: who is labelled in it, and where nobody was labelled.

Legend: N people, K keypoints, H/W image. Points are in the image frame: x right, y down, in pixels, and pixel i covers
[i, i + 1).
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, overload

import numpy as np

from litepose_ofa.supernet.data.coco import reader as annotation_reader
from litepose_ofa.supernet.data.coco.arrays import Annotations, LongArray
from litepose_ofa.supernet.data.coco.ignore_regions import ByteArray, FloatArray, IgnoreRegions
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError

__all__ = ["AnnotatedImages", "ByteArray", "FloatArray", "IgnoreRegions", "ImageRecord", "read_records"]


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


def read_records(annotations: Path, images: Path, skeleton: Skeleton) -> Sequence[ImageRecord]:
    """Read a COCO keypoints JSON in the order of its images, without a look at the image files.

    A file is read once and kept until it changes.

    Raises:
        InputError: If the file is missing or is not COCO keypoints of this skeleton; the message names file and entry.
    """
    return AnnotatedImages(read_annotations(annotations, skeleton), images)


def read_annotations(path: Path, skeleton: Skeleton) -> Annotations:
    """Read a COCO keypoints JSON into arrays; the last few files are kept until they change.

    Raises:
        InputError: If the file is missing or is not COCO keypoints of this skeleton; the message names file and entry.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return _read_annotations(path, path.absolute(), state.st_mtime_ns, state.st_size, skeleton)


@functools.lru_cache(maxsize=4)
def _read_annotations(path: Path, _absolute: Path, _mtime_ns: int, _size: int, skeleton: Skeleton) -> Annotations:
    """Read a file; where it is, its time and its size are there for the cache to see a change."""
    return annotation_reader.read_annotations(path, skeleton)
