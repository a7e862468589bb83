"""Heatmap targets against their closed form, and through the decoder."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.codec import decode_people, make_heatmaps, to_heatmap_pixels


def keypoints_of(*joints: tuple[float, float, float]) -> torch.Tensor:
    """One person of one image."""
    return torch.tensor(joints, dtype=torch.float64)[None, None]


def random_people(shape: tuple[int, int, int], size: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * size
    visibility = torch.randint(0, 3, (*shape, 1), generator=generator)
    return torch.cat([points, visibility], dim=-1)


def brute_force(keypoints: torch.Tensor, scale: float, size: int, sigma: float) -> torch.Tensor:
    batch, people, num_keypoints, _ = keypoints.shape
    maps = torch.zeros(batch, num_keypoints, size, size, dtype=torch.float64)
    for b in range(batch):
        for p in range(people):
            for k in range(num_keypoints):
                x, y, v = (float(value) for value in keypoints[b, p, k])
                for row in range(size):
                    for column in range(size):
                        dx, dy = column + 0.5 - x * scale, row + 0.5 - y * scale
                        if v > 0 and max(abs(dx), abs(dy)) <= 3 * sigma:
                            value = math.exp(-(dx**2 + dy**2) / (2 * sigma**2))
                            maps[b, k, row, column] = max(float(maps[b, k, row, column]), value)
    return maps


@pytest.mark.parametrize(("input_size", "heatmap_size", "sigma"), [(48, 12, 2.0), (48, 24, 1.5), (20, 20, 0.7)])
def test_equals_the_gaussian_of_every_visible_joint(input_size: int, heatmap_size: int, sigma: float) -> None:
    keypoints = random_people((2, 3, 4), input_size, seed=1)
    maps = make_heatmaps(keypoints, input_size=input_size, heatmap_size=heatmap_size, sigma=sigma)
    torch.testing.assert_close(maps, brute_force(keypoints, heatmap_size / input_size, heatmap_size, sigma))


@pytest.mark.parametrize("joint", [(8.0, 8.0, 0), (-0.1, 8.0, 2), (8.0, 16.0, 2), (1e9, 8.0, 2)])
def test_joints_that_are_unlabelled_or_outside_leave_no_trace(joint: tuple[float, float, float]) -> None:
    assert make_heatmaps(keypoints_of(joint), input_size=16, heatmap_size=8, sigma=2.0).count_nonzero() == 0


def test_width_and_height_scale_apart() -> None:
    maps = make_heatmaps(keypoints_of((64.0, 16.0, 2)), input_size=(128, 64), heatmap_size=(64, 16), sigma=1.0)
    assert maps.shape == (1, 1, 16, 64)
    assert [int(i) for i in np.unravel_index(int(maps.argmax()), (16, 64))] in ([4, 32], [3, 31], [4, 31], [3, 32])
    scaled = to_heatmap_pixels(keypoints_of((64.0, 16.0, 2)), input_size=(128, 64), heatmap_size=(64, 16))
    assert scaled[0, 0, 0].tolist() == [32, 4, 2]


# Never on the edge of a pixel, where two or four pixels are peaks alike.
coordinate = st.integers(600, 9000).map(lambda hundredths: hundredths / 100 + 0.00137)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=14, max_size=14), st.sampled_from([48, 32, 24]))
def test_decoding_inverts_encoding_to_a_quarter_of_a_pixel(joints: list[tuple[float, float]], size: int) -> None:
    keypoints = keypoints_of(*((x, y, 2.0) for x, y in joints))
    maps = make_heatmaps(keypoints, input_size=96, heatmap_size=size, sigma=2.0)
    (people, scores), *_ = decode_people(maps, torch.zeros_like(maps), refine=False)
    assert people.shape == (1, 14, 3)
    error = people[0, :, :2] * (96 / size) - keypoints[0, 0, :, :2].numpy()
    assert np.abs(error).max() <= 0.2501 * 96 / size
    assert scores[0] >= math.exp(-1 / 16) - 1e-6
