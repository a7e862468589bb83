import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litepose_ofa.supernet.data.geometry import inference_affine, invert, transform_points, warp
from litepose_ofa.supernet.data.loading.augmentation import Transform

sides = st.integers(60, 300)


def dot_at(width: int, height: int, point: npt.NDArray[np.float64], radius: float) -> npt.NDArray[np.uint8]:
    """Paint a soft dot whose centre of mass is the point, in the continuous frame."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    squared = (x - point[0]) ** 2 + (y - point[1]) ** 2
    return np.rint(255 * np.exp(-squared / (2 * radius**2))).astype(np.uint8)


def centre_of_mass(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5)
    mass = image.astype(np.float64)
    return np.array([(x * mass).sum(), (y * mass).sum()]) / mass.sum()


def assert_dot_lands(
    width: int, height: int, fraction: tuple[float, float], matrix: object, size: tuple[int, int]
) -> None:
    point = np.array(fraction) * (width, height)
    assert isinstance(matrix, np.ndarray)
    zoom = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    expected = transform_points(matrix, point)
    margin = 4 * max(2.0, 2.0 * zoom)
    if (expected < margin).any() or (expected > np.array(size) - margin).any():
        return
    found = centre_of_mass(warp(dot_at(width, height, point, max(2.0, 2.0 / zoom)), matrix, size))
    np.testing.assert_allclose(found, expected, atol=0.5)


@given(width=sides, height=sides, size=st.sampled_from([64, 96, 128]), fraction=st.tuples(*[st.floats(0.2, 0.8)] * 2))
def test_a_dot_is_found_at_its_keypoint_in_inference(
    width: int, height: int, size: int, fraction: tuple[float, float]
) -> None:
    matrix, out_size = inference_affine(width, height, size)
    assert_dot_lands(width, height, fraction, matrix, out_size)


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (160, 160, 96, (96, 96)),
        (160, 160, 128, (128, 128)),
        (640, 480, 512, (704, 512)),
        (480, 640, 512, (512, 704)),
        (320, 160, 96, (192, 96)),
        (161, 160, 96, (128, 96)),
        (1000, 795, 256, (384, 256)),
    ],
)
def test_the_long_side_goes_up_to_the_multiple(width: int, height: int, size: int, expected: tuple[int, int]) -> None:
    matrix, out_size = inference_affine(width, height, size)
    assert out_size == expected
    np.testing.assert_allclose(transform_points(matrix, (width / 2, height / 2)), np.array(expected) / 2)
    zoom = size / min(width, height)
    np.testing.assert_allclose(matrix[:, :2], zoom * np.eye(2))


def test_an_image_of_the_input_size_passes_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    np.testing.assert_array_equal(warp(image, inference_affine(96, 96, 96)[0], (96, 96)), image)
    np.testing.assert_array_equal(warp(image, Transform().matrix(96, 96, 96), (96, 96)), image)
    np.testing.assert_array_equal(warp(image, Transform(flip=True).matrix(96, 96, 96), (96, 96)), image[:, ::-1])


def test_halving_averages_four_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    halved = warp(image, Transform().matrix(64, 64, 32), (32, 32))
    np.testing.assert_allclose(halved, image.reshape(32, 2, 32, 2).mean(axis=(1, 3)), atol=1)


def test_the_directions_of_rotation_scale_and_translation() -> None:
    right = np.array([75.0, 50.0])
    quarter = Transform(rotation_degrees=90).matrix(100, 100, 100)
    np.testing.assert_allclose(transform_points(quarter, right), (50, 75), atol=1e-9)
    np.testing.assert_allclose(transform_points(Transform(scale=2).matrix(100, 100, 100), right), (62.5, 50))
    moved = Transform(translation=(0.1, -0.2)).matrix(100, 100, 100)
    np.testing.assert_allclose(transform_points(moved, right), (85, 30))


@given(
    rotation=st.floats(-180, 180),
    scale=st.floats(0.5, 2),
    points=st.lists(st.tuples(st.floats(0, 200), st.floats(0, 200)), min_size=1, max_size=5),
)
def test_inversion_goes_back(rotation: float, scale: float, points: list[tuple[float, float]]) -> None:
    matrix = Transform(rotation_degrees=rotation, scale=scale, flip=True).matrix(200, 150, 96)
    np.testing.assert_allclose(transform_points(invert(matrix), transform_points(matrix, points)), points, atol=1e-9)
