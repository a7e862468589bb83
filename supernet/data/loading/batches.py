"""Training samples: an image, augmented by a seed, with its keypoints and mask in input pixels; and batches of them.

Legend: B batch, P people of the fullest image (at least 1), K keypoints, R side of the input in pixels.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from litepose_ofa.supernet.data.coco.dataset import BadImageError, ImageRecord, KeypointDataset
from litepose_ofa.supernet.data.geometry import Matrix, inside, transform_points, warp
from litepose_ofa.supernet.data.loading.augmentation import Augmentation, Transform
from litepose_ofa.supernet.data.loading.mixture import Labelling, Member, sample_counts
from litepose_ofa.supernet.data.loading.mosaic import MASK_STRIDE, Cell
from litepose_ofa.supernet.data.normalisation import IMAGE_MEAN, IMAGE_STD, normalise
from litepose_ofa.supernet.errors import require

__all__ = [
    "IMAGE_MEAN",
    "IMAGE_STD",
    "Augmentation",
    "Batch",
    "Sample",
    "SampleRequest",
    "TrainingImages",
    "collate",
    "collate_bytes",
    "normalise",
]

T = TypeVar("T", bound=np.generic)

ImageId = int | str
"""An image's id in the annotations; of a further dataset's image after the dataset's name and a slash."""

MOSAIC, MEMBER = 1, 2
"""Streams of random numbers of a sample's seed: of its mosaic, and of the image that a further dataset gives; the
augmentation is the seed's own."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A sample by its place in an epoch, the side of the input in pixels, and the seed of all that is random.

    Places count the images of the training's dataset, then the samples that come from further ones.
    ``teacher_size`` is the side of a second rendition of the same cut-out, for a teacher of another resolution.
    """

    index: int
    size: int
    seed: int
    teacher_size: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a batch: uint8 (R, R, 3), keypoints (N, K, 3), mask (R / 2, R / 2); and the images left out.

    ``image_id`` is that of the requested image; the others of a mosaic follow from the request. ``sources`` and
    ``labellings`` are as in ``Batch``.
    """

    image: npt.NDArray[np.uint8]
    teacher_image: npt.NDArray[np.uint8] | None
    keypoints: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]
    image_id: ImageId
    bad_images: tuple[Path, ...]
    sources: npt.NDArray[np.uint8] | None = None
    labellings: tuple[Labelling, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size, stacked.

    Attributes:
        images: RGB, shape (B, 3, R, R), channels last in memory; normalised, or bytes until the batch is moved.
        keypoints: Shape (B, P, K, 3): x, y in input pixels and visibility; all 0 where absent or outside of the input.
        mask: 1 where the loss counts, 0 in ignore regions, shape (B, R / 2, R / 2).
        image_ids: Which images these are.
        bad_images: Files that failed and were replaced by the next good image.
        teacher_images: The same cut-outs at the teacher's resolution, if it has one of its own.
        sources: Which dataset each element of the mask shows, shape (B, R / 2, R / 2), if there are several: 0 the
            training's own, n the n-th further one.
        labellings: What each of the further ones labels.
    """

    images: Tensor
    keypoints: Tensor
    mask: Tensor
    image_ids: tuple[ImageId, ...]
    bad_images: tuple[Path, ...]
    teacher_images: Tensor | None = None
    sources: Tensor | None = None
    labellings: tuple[Labelling, ...] = ()

    def to(self, device: torch.device | str) -> Self:
        """Return the batch with its tensors on a device, the images normalised."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        teacher_images = None if moved.teacher_images is None else _normalised(moved.teacher_images)
        return dataclasses.replace(moved, images=_normalised(moved.images), teacher_images=teacher_images)

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory; ``DataLoader`` calls this."""
        return self._map(Tensor.pin_memory)

    def split(self, parts: int) -> list[Self]:
        """Return the batch in equal parts, in order; its size must be a multiple of ``parts``."""
        size = len(self.images) // parts
        return [
            dataclasses.replace(
                self._map(lambda tensor, first=first: tensor[first : first + size]),  # type: ignore[misc]
                image_ids=self.image_ids[first : first + size],
            )
            for first in range(0, parts * size, size)
        ]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return dataclasses.replace(
            self,
            images=change(self.images),
            keypoints=change(self.keypoints),
            mask=change(self.mask),
            teacher_images=None if self.teacher_images is None else change(self.teacher_images),
            sources=None if self.sources is None else change(self.sources),
        )


class TrainingImages(Dataset[Sample]):
    """Samples by request; the same request gives the same sample in any process.

    Args:
        dataset: Where images and people come from.
        augmentation: Random transforms, or None for the centred square of the short side.
        max_people: The largest people that one sample keeps.
        mixture: Further datasets. An epoch is one pass over ``dataset`` and so many samples of each of these that they
            are its share; a sample's image of them is drawn by the sample's seed.

    Raises:
        InputError: If a mosaic may have more pictures than there are.
    """

    def __init__(
        self,
        dataset: KeypointDataset,
        *,
        augmentation: Augmentation | None,
        max_people: int = 30,
        mixture: Sequence[Member] = (),
    ) -> None:
        if augmentation is not None and augmentation.mosaic.probability:
            most, there = augmentation.mosaic.pictures[1], len(dataset)
            require(
                most <= there,
                "training.augmentation.mosaic.pictures",
                most,
                f"at most the {there} images of the training split",
            )
        self.dataset = dataset
        self.augmentation = augmentation
        self.max_people = max_people
        self.mixture = tuple(mixture)
        counts = sample_counts(len(dataset), [member.share for member in mixture])
        self._ends = list(itertools.accumulate((len(dataset), *counts)))
        self._labellings = tuple(member.labelling for member in mixture)

    def __len__(self) -> int:
        """Samples of an epoch."""
        return self._ends[-1]

    def __getitem__(self, request: SampleRequest) -> Sample:
        """Load one sample.

        Raises:
            BadImageError: If an image fails and the dataset's ``on_bad_image`` is "error", or if every image fails.
        """
        whole = Cell(0, 0, request.size, request.size)
        if self.augmentation is None or not self.augmentation.mosaic.probability:
            return self._in_cell(request, whole)
        rng = np.random.default_rng((request.seed, MOSAIC))
        first, *cells = self.augmentation.mosaic.draw(rng, request.size)
        others = 1 + rng.choice(len(self) - 1, len(cells), replace=False)
        seeds = rng.integers(2**31, size=len(cells))
        samples = [self._in_cell(request, first)]
        for step, seed, cell in zip(others.tolist(), seeds.tolist(), cells, strict=True):
            other = dataclasses.replace(request, index=(request.index + step) % len(self), seed=seed)
            samples.append(self._in_cell(other, cell))
        return self._joined(samples, [first, *cells], request) if cells else samples[0]

    def _in_cell(self, request: SampleRequest, cell: Cell) -> Sample:
        """Load one picture into a cell of the input; the image and the mask are the cell's, keypoints the input's."""
        source, dataset, start = self._picture(request)
        index, image, bad_images = _first_good(dataset, start)
        record = dataset.records[index]
        transform = Transform() if self.augmentation is None else self.augmentation.draw(request.seed)
        matrix = cell.centred(transform.matrix(record.width, record.height, cell.side))
        image = image if transform.colour is None else transform.colour.apply(image)
        to_teacher = request.teacher_size and request.teacher_size / request.size
        mask = self._mask(record, *cell.alone(matrix, 1 / MASK_STRIDE))
        return Sample(
            image=transform.render(image, *cell.alone(matrix)),
            teacher_image=transform.render(image, *cell.alone(matrix, to_teacher)) if to_teacher else None,
            keypoints=self._keypoints(record, matrix, cell, flip=transform.flip),
            mask=mask,
            image_id=f"{self.mixture[source - 1].name}/{record.id}" if source else record.id,
            bad_images=bad_images,
            sources=np.full(mask.shape, source, np.uint8) if self.mixture else None,
            labellings=self._labellings,
        )

    def _picture(self, request: SampleRequest) -> tuple[int, KeypointDataset, int]:
        """Return which dataset a sample is of, 0 for the training's own, the dataset, and the image by its place."""
        source = bisect.bisect_right(self._ends, request.index)
        if not source:
            return 0, self.dataset, request.index
        dataset = self.mixture[source - 1].dataset
        return source, dataset, int(np.random.default_rng((request.seed, MEMBER)).integers(len(dataset)))

    def _joined(self, samples: Sequence[Sample], cells: Sequence[Cell], request: SampleRequest) -> Sample:
        """Return the samples of all cells as one."""
        size, teacher_size = request.size, request.teacher_size
        teacher_images = [sample.teacher_image for sample in samples if sample.teacher_image is not None]
        sources = [sample.sources for sample in samples if sample.sources is not None]
        mask_cells = [cell.scaled(1 / MASK_STRIDE) for cell in cells]
        return Sample(
            image=_tiled([sample.image for sample in samples], cells),
            teacher_image=_tiled(teacher_images, [cell.scaled(teacher_size / size) for cell in cells])
            if teacher_size
            else None,
            keypoints=self._largest(np.concatenate([sample.keypoints for sample in samples])),
            mask=_tiled([sample.mask for sample in samples], mask_cells),
            image_id=samples[0].image_id,
            bad_images=tuple(path for sample in samples for path in sample.bad_images),
            sources=_tiled(sources, mask_cells) if sources else None,
            labellings=self._labellings,
        )

    def _keypoints(self, record: ImageRecord, matrix: Matrix, cell: Cell, *, flip: bool) -> npt.NDArray[np.float32]:
        """Return who is left in a cell, largest first, shape (N, K, 3) in input pixels."""
        keypoints = record.keypoints[:, list(self.dataset.skeleton.flip_indices)] if flip else record.keypoints.copy()
        keypoints[..., :2] = transform_points(matrix, keypoints[..., :2])
        within = inside(keypoints[..., :2], (cell.right, cell.bottom), (cell.left, cell.top))
        keypoints[~(within & (keypoints[..., 2] > 0))] = 0
        return self._largest(keypoints[keypoints[..., 2].any(axis=1)])

    def _largest(self, keypoints: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return at most ``max_people``, largest first."""
        order = np.argsort(-_extents(keypoints), kind="stable")
        return keypoints[order[: self.max_people]]

    def _mask(self, record: ImageRecord, matrix: Matrix, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        padding = self.augmentation is not None and self.augmentation.mask_padding
        if not (record.ignore or padding):
            return np.ones(size[::-1], np.float32)
        ignored = record.ignore.draw(record.width, record.height)
        return 1 - warp(ignored, matrix, size, nearest=True, outside=int(padding)).astype(np.float32)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size, normalised; images with fewer people are filled up with zeros."""
    return collate_bytes(samples).to("cpu")


def collate_bytes(samples: Sequence[Sample]) -> Batch:
    """Stack samples as ``collate`` does, but leave the images as bytes: a quarter to move; ``Batch.to`` normalises."""
    num_keypoints = samples[0].keypoints.shape[1]
    most = max(1, *(len(sample.keypoints) for sample in samples))
    teacher_images = [sample.teacher_image for sample in samples if sample.teacher_image is not None]
    sources = [sample.sources for sample in samples if sample.sources is not None]
    keypoints = np.zeros((len(samples), most, num_keypoints, 3), np.float32)
    for row, sample in zip(keypoints, samples, strict=True):
        row[: len(sample.keypoints)] = sample.keypoints
    return Batch(
        images=_stacked([sample.image for sample in samples]),
        keypoints=torch.from_numpy(keypoints),
        mask=torch.from_numpy(np.stack([sample.mask for sample in samples])),
        image_ids=tuple(sample.image_id for sample in samples),
        bad_images=tuple(path for sample in samples for path in sample.bad_images),
        teacher_images=_stacked(teacher_images) if teacher_images else None,
        sources=torch.from_numpy(np.stack(sources)) if sources else None,
        labellings=samples[0].labellings,
    )


def _first_good(dataset: KeypointDataset, start: int) -> tuple[int, npt.NDArray[np.uint8], tuple[Path, ...]]:
    """Return the first image from ``start`` on that can be read, and the files passed over."""
    bad_images: list[Path] = []
    for step in range(len(dataset)):
        index = (start + step) % len(dataset)
        try:
            return index, dataset.read_image(index), tuple(bad_images)
        except BadImageError:
            if dataset.on_bad_image == "error":
                raise
            bad_images.append(dataset.records[index].path)
    raise BadImageError(f"{dataset.images_dir}: not one of {len(dataset)} images can be read")


def _tiled(parts: Sequence[npt.NDArray[T]], cells: Sequence[Cell]) -> npt.NDArray[T]:
    """Return one array of the arrays of cells that cover it."""
    width, height = max(cell.right for cell in cells), max(cell.bottom for cell in cells)
    whole = np.empty((height, width, *parts[0].shape[2:]), parts[0].dtype)
    for part, cell in zip(parts, cells, strict=True):
        whole[cell.top : cell.bottom, cell.left : cell.right] = part
    return whole


def _stacked(images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _normalised(images: Tensor) -> Tensor:
    """Normalise images that are bytes, (B, 3, R, R) with channels last in memory; others are."""
    return normalise(images.permute(0, 2, 3, 1)) if images.dtype == torch.uint8 else images


def _extents(keypoints: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the area that each person's labelled keypoints span, shape (N,), in square pixels."""
    points, labelled = keypoints[..., :2], keypoints[..., 2:] > 0
    low = np.where(labelled, points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(labelled, points, -np.inf).max(axis=1, initial=-np.inf)
    areas: npt.NDArray[np.float32] = (high - low).prod(axis=-1)
    return areas
