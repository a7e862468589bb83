"""Samples: keypoints, mask and the teacher's rendition follow the image; batches hold what their samples do."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from litepose_ofa.supernet.data.coco.dataset import BadImageError, ImageRecord, KeypointDataset
from litepose_ofa.supernet.data.coco.records import IgnoreRegions
from litepose_ofa.supernet.data.loading.batches import (
    IMAGE_MEAN,
    IMAGE_STD,
    Augmentation,
    Batch,
    Sample,
    SampleRequest,
    TrainingImages,
    collate,
    collate_bytes,
    normalise,
)
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.data.skeletons import CROWDPOSE

SIZE = 96


@pytest.fixture
def dots(tmp_path: Path) -> KeypointDataset:
    """Black images of 200 x 160 with one person each, a soft dot on every keypoint, all inside of any augmentation."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(3):
        points = rng.uniform((70, 50), (130, 110), (14, 2)).astype(np.float32)
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), paint(points, 200, 160))
        keypoints = np.column_stack([points, np.full(14, 2)])[None].astype(np.float32)
        records.append(ImageRecord(number, path, 200, 160, keypoints))
    return KeypointDataset(tmp_path / "people.json", tmp_path, CROWDPOSE, records)


def paint(points: np.ndarray, width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    squared = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    return np.rint(255 * np.exp(-squared / 8).max(axis=-1)).astype(np.uint8)


def replace_record(dataset: KeypointDataset, index: int, **changes: object) -> None:
    dataset.records[index] = dataclasses.replace(dataset.records[index], **changes)


def equal(a: Sample, b: Sample) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "keypoints", "mask"))


def test_a_flip_swaps_left_and_right(dots: KeypointDataset) -> None:
    still = Augmentation(rotation_degrees=0, scale=(1.0, 1.0), translation=0, flip=0.0)
    request = SampleRequest(0, SIZE, 5)
    plain = TrainingImages(dots, augmentation=still)[request]
    flipped = TrainingImages(dots, augmentation=dataclasses.replace(still, flip=1.0))[request]
    mirrored = plain.keypoints[:, list(CROWDPOSE.flip_indices)] * (-1, 1, 1) + (SIZE, 0, 0)
    np.testing.assert_allclose(flipped.keypoints, mirrored, atol=1e-4)
    difference = flipped.image.astype(int) - plain.image[:, ::-1]
    assert np.abs(difference).max() <= 1


def test_without_augmentation_the_short_side_spans_the_centred_input(dots: KeypointDataset) -> None:
    sample = TrainingImages(dots, augmentation=None)[SampleRequest(1, 160, 9)]
    np.testing.assert_array_equal(sample.image, dots.read_image(1)[:, 20:180])
    np.testing.assert_allclose(sample.keypoints[..., 0], dots.records[1].keypoints[..., 0] - 20, atol=1e-4)


def test_what_leaves_the_input_is_not_labelled(dots: KeypointDataset) -> None:
    keypoints = np.repeat(dots.records[0].keypoints, 2, axis=0)
    keypoints[0, 3] = 5, 80, 2  # left of the centred square
    keypoints[1] = 5, 80, 1
    replace_record(dots, 0, keypoints=keypoints)
    sample = TrainingImages(dots, augmentation=None)[SampleRequest(0, SIZE, 0)]
    assert len(sample.keypoints) == 1
    np.testing.assert_array_equal(sample.keypoints[0, 3], 0)
    assert (np.delete(sample.keypoints[0], 3, axis=0)[:, 2] == 2).all()


def test_the_largest_people_are_kept(dots: KeypointDataset) -> None:
    centre = np.array([100, 80, 0], np.float32)
    person = dots.records[0].keypoints[0]
    shrunk = [centre + (person - centre) * (factor, factor, 1) for factor in (0.2, 1.0, 0.5)]
    replace_record(dots, 0, keypoints=np.stack(shrunk).astype(np.float32))
    images = TrainingImages(dots, augmentation=None, max_people=2)
    spans = np.ptp(images[SampleRequest(0, SIZE, 0)].keypoints[..., 0], axis=1)
    np.testing.assert_allclose(spans / spans[0], (1, 0.5), rtol=1e-3)


def test_the_mask_is_zero_in_ignore_regions(dots: KeypointDataset) -> None:
    left_half = np.array([(0, 0), (99.4, 0), (99.4, 160), (0, 160)], np.float32)
    replace_record(dots, 0, ignore=IgnoreRegions((left_half,)))
    mask = TrainingImages(dots, augmentation=None)[SampleRequest(0, SIZE, 0)].mask
    assert mask.shape == (SIZE // 2, SIZE // 2)
    np.testing.assert_array_equal(mask, np.broadcast_to(np.arange(48) >= 24, (48, 48)))


def test_a_bad_image_is_an_error_or_makes_way_for_the_next(dots: KeypointDataset) -> None:
    images = TrainingImages(dots, augmentation=Augmentation())
    good = images[SampleRequest(0, SIZE, 5)]
    for number in (1, 2):
        dots.records[number].path.write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"1\.png"):
        images[SampleRequest(1, SIZE, 5)]
    dots.on_bad_image = "skip"
    sample = images[SampleRequest(1, SIZE, 5)]
    assert equal(sample, good)
    assert sample.image_id == 0
    assert sample.bad_images == (dots.records[1].path, dots.records[2].path)
    dots.records[0].path.unlink()
    with pytest.raises(BadImageError, match="not one of 3 images"):
        images[SampleRequest(1, SIZE, 5)]


def test_a_batch_is_filled_up_with_absent_people(dots: KeypointDataset) -> None:
    replace_record(dots, 0, keypoints=np.repeat(dots.records[0].keypoints, 3, axis=0))
    replace_record(dots, 2, keypoints=np.zeros((0, 14, 3), np.float32))
    images = TrainingImages(dots, augmentation=None)
    samples = [images[SampleRequest(index, SIZE, 0)] for index in range(3)]
    batch = collate(samples)
    assert batch.images.shape == (3, 3, SIZE, SIZE)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.keypoints.shape == (3, 3, 14, 3)
    assert batch.mask.shape == (3, SIZE // 2, SIZE // 2)
    assert {batch.images.dtype, batch.keypoints.dtype, batch.mask.dtype} == {torch.float32}
    assert (batch.keypoints[..., 2] > 0).sum(dim=(1, 2)).tolist() == [42, 14, 0]
    assert batch.image_ids == (0, 1, 2)
    assert collate(samples[2:]).keypoints.shape == (1, 1, 14, 3)


def assert_same(batch: Batch, expected: Batch) -> None:
    assert batch.image_ids == expected.image_ids
    for name in ("images", "keypoints", "mask", "teacher_images"):
        one, other = getattr(batch, name), getattr(expected, name)
        assert (one is None and other is None) or torch.equal(one, other)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("teacher_size", [None, 64])
def test_parts_are_batches_and_bytes_are_normalised_when_they_move(
    dots: KeypointDataset, teacher_size: int | None
) -> None:
    images = TrainingImages(dots, augmentation=Augmentation())
    samples = [images[SampleRequest(seed % 3, SIZE, seed, teacher_size)] for seed in range(4)]
    stored, expected = collate_bytes(samples), collate(samples)
    assert stored.images.dtype == torch.uint8
    assert_same(stored.to("cpu").to("cpu"), expected)
    for parts in (1, 2, 4):
        size = 4 // parts
        split = zip(stored.split(parts), expected.split(parts), strict=True)
        for number, (part, normalised) in enumerate(split):
            own = collate(samples[number * size : (number + 1) * size])
            assert_same(dataclasses.replace(normalised, keypoints=own.keypoints), own)
            assert_same(part.to("cpu"), normalised)
    elsewhere = stored.to("meta").images
    assert (elsewhere.dtype, elsewhere.shape) == (torch.float32, expected.images.shape)
    assert elsewhere.is_contiguous(memory_format=torch.channels_last)


def test_the_table_of_normalised_bytes_is_the_arithmetic() -> None:
    """To the bit; on another device than the CPU it is the arithmetic."""
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 41, 3), np.uint8)
    mean, std = (255 * torch.tensor(three) for three in (IMAGE_MEAN, IMAGE_STD))
    expected = ((torch.from_numpy(images).float() - mean) / std).permute(0, 3, 1, 2)
    assert torch.equal(normalise(images), expected)
    assert torch.equal(normalise(torch.from_numpy(images)), expected)
    assert torch.equal(normalise(images[:, ::2, ::-1]), expected[:, :, ::2].flip(-1))


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_a_worker_process_gives_the_same_batches(dots: KeypointDataset, mosaic: float) -> None:
    images = TrainingImages(dots, augmentation=Augmentation(mosaic=Mosaic(probability=mosaic, pictures=(2, 3))))
    requests = [[SampleRequest(0, 64, 1), SampleRequest(1, 64, 2)], [SampleRequest(2, SIZE, 3)]]
    here = [collate([images[request] for request in batch]) for batch in requests]
    loader: DataLoader[Batch] = DataLoader(images, batch_sampler=requests, collate_fn=collate, num_workers=1)
    for expected, batch in zip(here, loader, strict=True):
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.keypoints, expected.keypoints)
        assert torch.equal(batch.to("cpu").mask, expected.mask)
