"""Training samples: an image, augmented by a seed, with its keypoints and mask in input pixels; and batches of them.

Legend: B batch, P people of the fullest image (at least 1), K keypoints, R side of the input in pixels.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from supernet.data.coco import BadImageError, ImageRecord, KeypointDataset
from supernet.data.geometry import Matrix, rescaled, training_affine, transform_points, warp
from supernet.errors import require

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in [0, 1] over ImageNet."""

IMAGE_STD = (0.229, 0.224, 0.225)
"""Standard deviation of RGB in [0, 1] over ImageNet."""

MASK_STRIDE = 2
"""The mask has the size of the larger heatmaps."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What to load: the image's index, the side of the input in pixels, and the seed of its augmentation."""

    index: int
    size: int
    seed: int


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random geometry of one sample, each drawn uniformly. The defaults are LitePose's at an input of 512.

    Attributes:
        rotation_degrees: Largest turn either way.
        scale: Least and largest side of the cut-out over the short side of the image.
        translation: Largest shift either way, as a fraction of the input's side.
        flip: Probability of mirroring.

    Raises:
        InputError: If a value is out of its range.
    """

    rotation_degrees: float = 30.0
    scale: tuple[float, float] = (0.75, 1.5)
    translation: float = 40 / 512
    flip: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.rotation_degrees <= 180, "rotation_degrees", self.rotation_degrees, "from 0 to 180")
        require(0 < self.scale[0] <= self.scale[1], "scale", self.scale, "above 0 and ascending")
        require(0 <= self.translation <= 1, "translation", self.translation, "from 0 to 1")
        require(0 <= self.flip <= 1, "flip", self.flip, "from 0 to 1")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a batch: uint8 (R, R, 3), keypoints (N, K, 3), mask (R / 2, R / 2); and the images left out."""

    image: npt.NDArray[np.uint8]
    keypoints: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]
    image_id: int
    bad_images: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size, stacked.

    Attributes:
        images: Normalised RGB, shape (B, 3, R, R), channels last in memory.
        keypoints: Shape (B, P, K, 3): x, y in input pixels and visibility; all 0 where absent or outside of the input.
        mask: 1 where the loss counts, 0 in ignore regions, shape (B, R / 2, R / 2).
        image_ids: Ids in the annotations.
        bad_images: Files that failed and were replaced by the next good image.
    """

    images: Tensor
    keypoints: Tensor
    mask: Tensor
    image_ids: tuple[int, ...]
    bad_images: tuple[Path, ...]

    def to(self, device: torch.device | str) -> Self:
        """Return the batch with its tensors on a device."""
        return dataclasses.replace(
            self,
            images=self.images.to(device, non_blocking=True),
            keypoints=self.keypoints.to(device, non_blocking=True),
            mask=self.mask.to(device, non_blocking=True),
        )

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory; ``DataLoader`` calls this."""
        return dataclasses.replace(
            self,
            images=self.images.pin_memory(),
            keypoints=self.keypoints.pin_memory(),
            mask=self.mask.pin_memory(),
        )


class TrainingImages(Dataset[Sample]):
    """Samples by request; the same request gives the same sample in any process.

    Args:
        dataset: Where images and people come from.
        augmentation: Random geometry, or None for the centred square of the short side.
        max_people: The largest people that one sample keeps.
    """

    def __init__(self, dataset: KeypointDataset, *, augmentation: Augmentation | None, max_people: int = 30) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.max_people = max_people

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, request: SampleRequest) -> Sample:
        """Load one sample.

        Raises:
            BadImageError: If the image fails and the dataset's ``on_bad_image`` is "error", or if every image fails.
        """
        index, image, bad_images = self._first_good(request.index)
        record = self.dataset.records[index]
        matrix, flip = self._geometry(record, request)
        size = request.size
        return Sample(
            image=warp(image, matrix, (size, size)),
            keypoints=self._keypoints(record, matrix, size, flip=flip),
            mask=self._mask(index, matrix, size // MASK_STRIDE),
            image_id=record.id,
            bad_images=bad_images,
        )

    def _first_good(self, start: int) -> tuple[int, npt.NDArray[np.uint8], tuple[Path, ...]]:
        """Return the first image from ``start`` on that can be read, and the files passed over."""
        bad_images: list[Path] = []
        for step in range(len(self.dataset)):
            index = (start + step) % len(self.dataset)
            try:
                return index, self.dataset.read_image(index), tuple(bad_images)
            except BadImageError:
                if self.dataset.on_bad_image == "error":
                    raise
                bad_images.append(self.dataset.records[index].path)
        raise BadImageError(f"{self.dataset.images_dir}: not one of {len(self.dataset)} images can be read")

    def _geometry(self, record: ImageRecord, request: SampleRequest) -> tuple[Matrix, bool]:
        """Return the matrix from image to input and whether it mirrors."""
        random = self.augmentation
        if random is None:
            return training_affine(record.width, record.height, request.size), False
        rng = np.random.default_rng(request.seed)
        flip = bool(rng.random() < random.flip)
        matrix = training_affine(
            record.width,
            record.height,
            request.size,
            rotation_degrees=rng.uniform(-random.rotation_degrees, random.rotation_degrees),
            scale=rng.uniform(*random.scale),
            translation=(
                rng.uniform(-random.translation, random.translation),
                rng.uniform(-random.translation, random.translation),
            ),
            flip=flip,
        )
        return matrix, flip

    def _keypoints(self, record: ImageRecord, matrix: Matrix, size: int, *, flip: bool) -> npt.NDArray[np.float32]:
        """Return who is left in the input, largest first, shape (N, K, 3) in input pixels."""
        keypoints = record.keypoints[:, list(self.dataset.skeleton.flip_indices)] if flip else record.keypoints.copy()
        keypoints[..., :2] = transform_points(matrix, keypoints[..., :2])
        inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] < size)).all(axis=-1) & (keypoints[..., 2] > 0)
        keypoints[~inside] = 0
        keypoints, inside = keypoints[inside.any(axis=1)], inside[inside.any(axis=1)]
        order = np.argsort(-_extents(keypoints[..., :2], inside), kind="stable")
        return keypoints[order[: self.max_people]]

    def _mask(self, index: int, matrix: Matrix, size: int) -> npt.NDArray[np.float32]:
        ignored = self.dataset.ignore_mask(index)
        if ignored is None:
            return np.ones((size, size), np.float32)
        return 1 - warp(ignored, rescaled(matrix, 1 / MASK_STRIDE), (size, size), nearest=True).astype(np.float32)


def normalise(images: npt.NDArray[np.uint8]) -> Tensor:
    """Turn RGB images (B, H, W, 3) into the network's input, float32 (B, 3, H, W), channels last in memory."""
    scaled = torch.from_numpy(images).to(torch.float32)
    scaled.sub_(torch.tensor(IMAGE_MEAN) * 255).div_(torch.tensor(IMAGE_STD) * 255)
    return scaled.permute(0, 3, 1, 2)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size; images with fewer people are filled up with zeros."""
    num_keypoints = samples[0].keypoints.shape[1]
    most = max(1, *(len(sample.keypoints) for sample in samples))
    keypoints = np.zeros((len(samples), most, num_keypoints, 3), np.float32)
    for row, sample in zip(keypoints, samples, strict=True):
        row[: len(sample.keypoints)] = sample.keypoints
    return Batch(
        images=normalise(np.stack([sample.image for sample in samples])),
        keypoints=torch.from_numpy(keypoints),
        mask=torch.from_numpy(np.stack([sample.mask for sample in samples])),
        image_ids=tuple(sample.image_id for sample in samples),
        bad_images=tuple(path for sample in samples for path in sample.bad_images),
    )


def _extents(points: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the area that each person's keypoints span, shape (N,), in square pixels."""
    low = np.where(inside[..., None], points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(inside[..., None], points, -np.inf).max(axis=1, initial=-np.inf)
    areas: npt.NDArray[np.float32] = (high - low).prod(axis=-1)
    return areas
