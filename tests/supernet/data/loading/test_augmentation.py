"""Whatever is drawn: pixels, keypoints and mask move together, and colours and rectangles move nothing."""

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.data.coco.dataset import ImageRecord, KeypointDataset
from litepose_ofa.supernet.data.coco.records import IgnoreRegions
from litepose_ofa.supernet.data.loading.augmentation import Augmentation, ColourChange, ColourJitter, RandomErasing
from litepose_ofa.supernet.data.loading.batches import IMAGE_MEAN, IMAGE_STD, SampleRequest, TrainingImages, collate
from litepose_ofa.supernet.data.skeletons import CROWDPOSE

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

LEFT, RIGHT = CROWDPOSE.keypoints.index("left_shoulder"), CROWDPOSE.keypoints.index("right_shoulder")
JITTER = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue_degrees=18.0)
ERASING = RandomErasing(probability=1.0, count=2)


class OneImage(KeypointDataset):
    """One image in memory with its record."""

    def __init__(self, image: Image, keypoints: npt.ArrayLike, ignore: IgnoreRegions = IgnoreRegions()) -> None:  # noqa: B008
        height, width = image.shape[:2]
        record = ImageRecord(1, Path("one.png"), width, height, np.asarray(keypoints, np.float32), ignore)
        super().__init__(Path("one.json"), Path(), CROWDPOSE, [record])
        self.image = image

    def read_image(self, index: int) -> Image:
        return self.image


def person(left: Points, right: Points) -> npt.NDArray[np.float32]:
    keypoints = np.zeros((1, CROWDPOSE.num_keypoints, 3), np.float32)
    keypoints[0, LEFT], keypoints[0, RIGHT] = (*left, 2), (*right, 1)
    return keypoints


def pixel_centres(width: int, height: int) -> Points:
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def paint_dot(width: int, height: int, point: Points, radius: float) -> Image:
    squared = ((pixel_centres(width, height) - point) ** 2).sum(axis=-1)
    dot: Image = np.rint(255 * np.exp(-squared / (2 * radius**2))).astype(np.uint8)
    return dot


def centre_of_mass(values: npt.NDArray[np.generic]) -> Points:
    mass = values.astype(np.float64)[..., None]
    centre: Points = (pixel_centres(values.shape[1], values.shape[0]) * mass).sum(axis=(0, 1)) / mass.sum()
    return centre


def random_scene(seed: int, *, bright: bool = False) -> OneImage:
    rng = np.random.default_rng(seed)
    width, height = rng.integers(60, 140, 2).tolist()
    low = 120 if bright else 0
    image = rng.integers(low, 256, (height, width, 3), np.uint8)
    keypoints = np.dstack([rng.uniform((0, 0), (width, height), (3, 14, 2)), rng.integers(0, 3, (3, 14))])
    outline = rng.uniform((0, 0), (width, height), (4, 2)).astype(np.float32)
    return OneImage(image, keypoints, IgnoreRegions((outline,)))


@settings(max_examples=150, deadline=None)
@given(
    sides=st.tuples(st.integers(64, 360), st.integers(64, 360)),
    sizes=st.tuples(st.integers(2, 8), st.integers(2, 8)),
    augmentation=st.builds(
        Augmentation,
        rotation_degrees=st.floats(0, 180),
        scale=st.sampled_from([(0.75, 1.5), (1.0, 1.0), (1.5, 2.0)]),
        translation=st.floats(0, 0.1),
        flip=st.sampled_from([0.0, 0.5, 1.0]),
        mask_padding=st.booleans(),
    ),
    seed=st.integers(0, 2**32 - 1),
    places=st.tuples(*[st.floats(0.3, 0.7)] * 4),
)
def test_a_dot_is_found_at_its_keypoint(
    sides: tuple[int, int], sizes: tuple[int, int], augmentation: Augmentation, seed: int, places: tuple[float, ...]
) -> None:
    """Each dot has a channel: red is painted at the left shoulder, green at the right one, and crowds under the red."""
    size, teacher_size = 32 * sizes[0], 32 * sizes[1]
    largest_zoom = max(size, teacher_size) / min(sides) / augmentation.scale[0]
    assume(largest_zoom <= 3)  # OpenCV interpolates to 1/32 of a source pixel, which a zoom spreads
    dots = np.reshape(places, (2, 2)) * sides
    zoom = min(size, teacher_size) / min(sides) / augmentation.scale[1]
    radius = max(2.0, 2.0 / zoom)
    image = np.dstack([*(paint_dot(*sides, dot, radius) for dot in dots), np.zeros(sides[::-1], np.uint8)])
    around = np.linspace(0, 2 * np.pi, 40)[:, None]
    disc = dots[0] + 2 * radius * np.hstack([np.cos(around), np.sin(around)])
    ignore = IgnoreRegions((disc.astype(np.float32),))
    images = TrainingImages(OneImage(image, person(*dots), ignore), augmentation=augmentation)
    sample = images[SampleRequest(0, size, seed, teacher_size)]
    assume(len(sample.keypoints) == 1 and (sample.keypoints[0, [LEFT, RIGHT], 2] > 0).all())
    flipped = sample.keypoints[0, LEFT, 2] == 1
    found = sample.keypoints[0, [RIGHT, LEFT] if flipped else [LEFT, RIGHT], :2]
    margin = 4 * radius * size / min(sides) / augmentation.scale[0]
    assume(margin < found.min() and found.max() < size - margin)
    drawn = augmentation.draw(seed)
    assert flipped == drawn.flip, "a mirrored left shoulder is a right one"
    assert sample.teacher_image is not None
    for channel, point in enumerate(found):
        np.testing.assert_allclose(centre_of_mass(sample.image[..., channel]), point, atol=0.6)
        at_teacher = point * teacher_size / size
        np.testing.assert_allclose(centre_of_mass(sample.teacher_image[..., channel]), at_teacher, atol=0.6)
    if not augmentation.mask_padding:
        np.testing.assert_allclose(centre_of_mass(1 - sample.mask), found[0] / 2, atol=0.6)


def plain_sample(images: OneImage, size: int, seed: int) -> tuple[npt.NDArray[np.float32], Image, Points]:
    """The published pipeline step by step: draw, shift, turn and scale, shift, mirror; normalise value by value."""
    rng = np.random.default_rng(seed)
    flip = rng.random() < 0.5
    angle = math.radians(rng.uniform(-30, 30))
    height, width = images.image.shape[:2]
    zoom = size / (min(width, height) * rng.uniform(0.75, 1.5))
    shift = [size * (0.5 + rng.uniform(-40 / 512, 40 / 512)) for _ in range(2)]
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = np.column_stack([turn, shift - turn @ (width / 2, height / 2)])
    if flip:
        matrix = np.array([[-1, 0], [0, 1]]) @ matrix + [[0, 0, size], [0, 0, 0]]
    to_pixels = matrix.copy()
    to_pixels[:, 2] = matrix @ (0.5, 0.5, 1) - 0.5
    image = np.asarray(cv2.warpAffine(images.image, to_pixels, (size, size), flags=cv2.INTER_LINEAR), np.uint8)
    mean, std = (np.array(three, np.float32) * np.float32(255) for three in (IMAGE_MEAN, IMAGE_STD))
    return ((image.astype(np.float32) - mean) / std).transpose(2, 0, 1), image, matrix


@pytest.mark.parametrize("seed", range(25))
def test_the_default_sample_is_the_plain_pipeline_s_to_the_bit(seed: int) -> None:
    dataset = random_scene(seed)
    size = (64, 96, 160)[seed % 3]
    sample = TrainingImages(dataset, augmentation=Augmentation())[SampleRequest(0, size, seed)]
    normalised, image, matrix = plain_sample(dataset, size, seed)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(collate([sample]).images[0].numpy(), normalised)
    points = dataset.records[0].keypoints[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    for keypoints in sample.keypoints:
        for x, y, visibility in keypoints:
            assert visibility == 0 or np.abs(points - (x, y)).max(axis=-1).min() < 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_colours_and_rectangles_leave_keypoints_and_mask_as_they_are(seed: int) -> None:
    dataset, request = random_scene(seed), SampleRequest(0, 96, seed, 64)
    plain = TrainingImages(dataset, augmentation=Augmentation())[request]
    before = dataset.image.copy()
    for changed in (Augmentation(colour=JITTER), Augmentation(erasing=ERASING)):
        images = TrainingImages(dataset, augmentation=changed)
        sample = images[request]
        np.testing.assert_array_equal(sample.keypoints, plain.keypoints)
        np.testing.assert_array_equal(sample.mask, plain.mask)
        assert not np.array_equal(sample.image, plain.image)
        np.testing.assert_array_equal(sample.image, images[request].image)
    np.testing.assert_array_equal(dataset.image, before)


@pytest.mark.parametrize("seed", range(5))
def test_the_padding_stays_black_and_can_be_masked(seed: int) -> None:
    """Where a warped image of ones is 0 is padding; interpolated borders are neither."""
    dataset, size = random_scene(seed, bright=True), 96
    augmentation = Augmentation(scale=(1.6, 2.0), colour=JITTER, mask_padding=True)
    images = TrainingImages(dataset, augmentation=augmentation)
    sample = images[SampleRequest(0, size, seed)]
    height, width = dataset.image.shape[:2]
    matrix = augmentation.draw(seed).matrix(width, height, size)
    to_image = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))
    places = np.dstack([pixel_centres(size, size), np.ones((size, size))]) @ to_image.T
    outside = np.maximum(
        np.abs(places[..., 0] - width / 2) - width / 2, np.abs(places[..., 1] - height / 2) - height / 2
    )
    assert (sample.image[outside > 1] == 0).all()
    assert (sample.image[outside < -1].max(axis=-1) > 0).all()
    open_mask = TrainingImages(dataset, augmentation=dataclasses.replace(augmentation, mask_padding=False))[
        SampleRequest(0, size, seed)
    ].mask
    halves = outside.reshape(size // 2, 2, size // 2, 2).mean(axis=(1, 3))
    assert (sample.mask[halves > 2] == 0).all()
    assert open_mask[halves > 2].all()
    np.testing.assert_array_equal(sample.mask[halves < -2], open_mask[halves < -2])


def covered(augmentation: Augmentation, seed: int, size: int) -> npt.NDArray[np.bool_]:
    canvas = np.zeros((size, size, 3), np.uint8)
    for cover in augmentation.draw(seed).covers:
        dataclasses.replace(cover, colours=np.full((1, 1, 3), 255, np.uint8)).paint(canvas)
    return canvas[..., 0] > 0


@pytest.mark.parametrize("seed", range(10))
def test_rectangles_have_the_area_and_the_aspect_and_are_all_that_changes(seed: int) -> None:
    dataset, size = random_scene(seed), 128
    augmentation = Augmentation(erasing=RandomErasing(probability=1.0, area=(0.05, 0.1), aspect=(0.5, 2.0)))
    (cover,) = augmentation.draw(seed).covers
    assert 0.05 <= cover.size[0] * cover.size[1] <= 0.1
    assert 0.5 <= cover.size[0] / cover.size[1] <= 2.0
    inside = covered(augmentation, seed, size)
    assert abs(inside.mean() - cover.size[0] * cover.size[1]) < 0.01
    erased, plain = (
        TrainingImages(dataset, augmentation=each)[SampleRequest(0, size, seed)].image
        for each in (augmentation, Augmentation())
    )
    np.testing.assert_array_equal(erased[~inside], plain[~inside])
    assert (erased[inside] != plain[inside]).any(axis=-1).mean() > 0.99


def test_a_change_of_colours_is_its_closed_form() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    values, luma = image.astype(float), image @ np.array([0.213, 0.715, 0.072])
    expected = {
        ColourChange(1.0, 1.0, 1.0, 0.0): values,
        ColourChange(1.3, 1.0, 1.0, 0.0): 1.3 * values,
        ColourChange(1.0, 0.6, 1.0, 0.0): 0.6 * values + 0.4 * luma.mean(),
        ColourChange(1.0, 1.0, 0.7, 0.0): 0.7 * values + 0.3 * luma[..., None],
        ColourChange(1.0, 1.0, 0.0, 77.0): np.repeat(luma[..., None], 3, axis=-1),
        ColourChange(1.0, 1.0, 1.0, 360.0): values,
    }
    for change, result in expected.items():
        np.testing.assert_allclose(change.apply(image), result.clip(0, 255), atol=1.01)
