"""COCO-format keypoint datasets on disk: an annotation JSON and a folder of images."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np

from litepose_ofa.supernet.data.coco.doubts import DOUBTS_OF_TRAINING, require_meaningful
from litepose_ofa.supernet.data.coco.ignore_regions import ByteArray
from litepose_ofa.supernet.data.coco.reader import read_records
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, ImageRecord
from litepose_ofa.supernet.data.image_files import BadImageError, read_image_file
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError

__all__ = ["BadImageError", "ImageRecord", "KeypointDataset", "OnBadImage"]

OnBadImage = Literal["error", "skip"]


class KeypointDataset:
    """The images of a COCO-format folder with their labelled people.

    Args:
        annotations_path: The JSON the records came from.
        images_dir: The folder the images are in.
        skeleton: The keypoints of the annotations.
        records: The images.
        on_bad_image: What a reader of many images does with one that fails: raise, or leave it out.
    """

    def __init__(
        self,
        annotations_path: Path,
        images_dir: Path,
        skeleton: Skeleton,
        records: Sequence[ImageRecord],
        *,
        on_bad_image: OnBadImage = "error",
    ) -> None:
        self.annotations_path = annotations_path
        self.images_dir = images_dir
        self.skeleton = skeleton
        self.records = records
        self.on_bad_image = on_bad_image

    @classmethod
    def load(
        cls,
        annotations: Path | str,
        images: Path | str,
        skeleton: Skeleton,
        *,
        on_bad_image: OnBadImage = "error",
    ) -> Self:
        """Read the annotations; images are opened when they are asked for.

        Raises:
            InputError: If the JSON or the folder is missing, or the JSON is not COCO keypoints of this skeleton.
        """
        annotations, images = Path(annotations), Path(images)
        if on_bad_image not in ("error", "skip"):
            raise InputError(f"on_bad_image is {on_bad_image!r}; it must be 'error' or 'skip'")
        records = read_records(annotations, images, skeleton)
        if not images.is_dir():
            raise InputError(f"{images}: no such folder of images")
        return cls(annotations, images, skeleton, records, on_bad_image=on_bad_image)

    def __len__(self) -> int:
        return len(self.records)

    def read_image(self, index: int) -> ByteArray:
        """Return one image as RGB, shape (H, W, 3), as stored: annotations disregard the EXIF orientation.

        Raises:
            BadImageError: If the file is missing, does not decode, or has not the size in the annotations.
        """
        record = self.records[index]
        return read_image_file(record.path, (record.width, record.height), source=str(self.annotations_path))

    def subset(self, indices: Iterable[int]) -> Self:
        """Return the dataset of these images alone."""
        records = self.records
        if isinstance(records, AnnotatedImages):
            chosen: Sequence[ImageRecord] = records.take(indices)
        else:
            chosen = [records[index] for index in indices]
        return type(self)(self.annotations_path, self.images_dir, self.skeleton, chosen, on_bad_image=self.on_bad_image)

    def first(self, count: int) -> Self:
        """Return the dataset of the first ``count`` images, or of all if there are fewer."""
        return self.subset(range(min(count, len(self))))

    def with_people(self) -> Self:
        """Return the dataset of the images that have a labelled person, which training needs.

        Raises:
            InputError: If there are none, or at least half of the people are nowhere that anybody can have meant.
        """
        require_meaningful(self.records, self.annotations_path, DOUBTS_OF_TRAINING)
        with_people = self.subset(index for index, record in enumerate(self.records) if len(record.keypoints))
        if not len(with_people):
            raise InputError(f"{self.annotations_path}: none of {len(self)} images has a labelled person")
        return with_people

    @property
    def person_category(self) -> int:
        """The id of a person's category in the annotations, of several the first."""
        return self.records.annotations.categories[0] if isinstance(self.records, AnnotatedImages) else 1

    @property
    def file_names(self) -> list[str]:
        """Where the images are, from the folder of images."""
        if isinstance(self.records, AnnotatedImages):
            return self.records.file_names
        return [record.path.relative_to(self.images_dir).as_posix() for record in self.records]

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the images' files."""
        names = "\0".join(self.file_names)
        return hashlib.sha256(os.fsencode(names)).hexdigest()[:12]

    def holdout(self, count: int, seed: int) -> tuple[Self, Self]:
        """Split into the rest and ``count`` held-out images, drawn by the seed; both keep the order of the file.

        Raises:
            InputError: If the count leaves one of the two empty.
        """
        if not 0 < count < len(self):
            allowed = f"1 to {len(self) - 1}"
            raise InputError(
                f"{self.annotations_path}: cannot hold out {count} of {len(self)} images; allowed {allowed}"
            )
        held_out = np.zeros(len(self), bool)
        held_out[np.random.default_rng(seed).permutation(len(self))[:count]] = True
        return self.subset(np.flatnonzero(~held_out)), self.subset(np.flatnonzero(held_out))
