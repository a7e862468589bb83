"""COCO-format keypoint datasets on disk: an annotation JSON and a folder of images."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np

from litepose_ofa.supernet.data.coco.doubts import DOUBTS_OF_TRAINING, require_meaningful
from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, ByteArray, ImageRecord
from litepose_ofa.supernet.data.image_files import BadImageError, read_image_file
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError

__all__ = ["BadImageError", "ImageRecord", "KeypointDataset", "OnBadImage"]

OnBadImage = Literal["error", "skip"]
"""What a reader of many images does with one that fails: raise, or leave it out."""


class KeypointDataset:
    """The images of a COCO-format folder with their labelled people.

    Args:
        annotations_path: The JSON the records came from.
        images_dir: The folder the images are in.
        skeleton: The keypoints of the annotations.
        records: The images.
        on_bad_image: For readers of many images.
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
        cls, annotations: Path | str, images: Path | str, skeleton: Skeleton, *, on_bad_image: OnBadImage = "error"
    ) -> Self:
        """Read the annotations; images are opened when they are asked for.

        Raises:
            InputError: If the JSON or the folder is missing, or the JSON is not COCO keypoints of this skeleton.
        """
        annotations, images = Path(annotations), Path(images)
        if on_bad_image not in ("error", "skip"):
            raise InputError(f"on_bad_image is {on_bad_image!r}; it must be 'error' or 'skip'")
        records = AnnotatedImages(load_annotations(annotations, skeleton), images)
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
        chosen = records.take(indices) if isinstance(records, AnnotatedImages) else [records[i] for i in indices]
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

    def with_keypoints_of(self, skeleton: Skeleton, joints: Sequence[bool]) -> Self:
        """Return the dataset with another skeleton's keypoints.

        People without any of them are left out. ``joints`` says which there are here too, by name; the others are
        labelled on nobody.
        """
        records = self.records
        assert isinstance(records, AnnotatedImages)
        changed = AnnotatedImages(
            records.annotations.with_keypoints_of(skeleton, joints), records.folder, records.places
        )
        return type(self)(self.annotations_path, self.images_dir, skeleton, changed, on_bad_image=self.on_bad_image)

    @property
    def is_people_free(self) -> bool:
        """Whether nobody is annotated in the images, neither crowds nor people without keypoints."""
        records = self.records
        return isinstance(records, AnnotatedImages) and not np.isin(records.annotations.images, records.places).any()

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
        return hashlib.sha256(os.fsencode("\0".join(self.file_names))).hexdigest()[:12]

    def holdout(self, count: int, seed: int) -> tuple[Self, Self]:
        """Split into the rest and ``count`` held-out images, drawn by the seed; both keep the order of the file."""
        total = len(self)
        if not 0 < count < total:
            message = f"cannot hold out {count} of {total} images; allowed 1 to {total - 1}"
            raise InputError(f"{self.annotations_path}: {message}")
        held_out = np.zeros(total, bool)
        held_out[np.random.default_rng(seed).permutation(total)[:count]] = True
        return self.subset(np.flatnonzero(~held_out)), self.subset(np.flatnonzero(held_out))
