"""Resampling against closed forms: torch's own, polynomials, and what a matrix does to points."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from litepose_ofa.supernet.data.geometry import transform_points
from litepose_ofa.supernet.evaluation.resampling import resample, scaled_frame, scaling


@pytest.mark.parametrize("size", [(14, 10), (28, 40), (5, 3)])
def test_linear_is_that_of_torch(size: tuple[int, int]) -> None:
    maps = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    to_source = np.array([[7 / size[0], 0, 0], [0, 5 / size[1], 0]])
    expected = F.interpolate(maps, size=size[::-1], mode="bilinear", align_corners=False)
    torch.testing.assert_close(resample(maps, to_source, size, cubic=False), expected)


@pytest.mark.parametrize("cubic", [False, True])
def test_a_slope_stays_a_slope_and_a_parabola_too_if_cubic(cubic: bool) -> None:
    columns, rows = (torch.arange(20) + 0.5).double(), (torch.arange(12) + 0.5).double()[:, None]
    to_source = np.array([[0.3, 0, 4.1], [0, 0.7, 2.2]])
    x = torch.from_numpy(0.3 * (np.arange(30) + 0.5) + 4.1)
    y = torch.from_numpy(0.7 * (np.arange(9) + 0.5) + 2.2)[:, None]
    slope = resample(3 * columns - 2 * rows, to_source, (30, 9), cubic=cubic)
    torch.testing.assert_close(slope, 3 * x - 2 * y)
    bowl = resample(columns**2 + rows * columns, to_source, (30, 9), cubic=cubic)
    assert torch.allclose(bowl, x**2 + y * x) == cubic


@pytest.mark.parametrize("cubic", [False, True])
def test_beyond_the_maps_lies_their_edge_and_gaps_are_zeros(cubic: bool) -> None:
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    beyond = resample(maps, np.array([[1.0, 0, -5], [0, 1, 7]]), (2, 2), cubic=cubic)
    torch.testing.assert_close(beyond, torch.full((2, 2), 3.0))
    broken = torch.ones(9, 9)
    broken[4, 4] = torch.nan
    mended = resample(broken, scaling(0.5), (18, 18), cubic=cubic)
    assert torch.isfinite(mended).all()
    torch.testing.assert_close(mended[:4], torch.ones(4, 18))


@pytest.mark.parametrize("size", [(192, 128), (128, 128), (144, 448)])
@pytest.mark.parametrize("scale", [0.2, 0.5, 1.3, 2.0])
def test_another_scale_shows_all_of_the_input(size: tuple[int, int], scale: float) -> None:
    to_scaled, scaled = scaled_frame(size, scale, 64)
    assert scaled[0] % 64 == scaled[1] % 64 == 0
    assert min(scaled) == max(64, round(min(size) * scale / 64) * 64)
    low, high, centre = transform_points(to_scaled, [(0, 0), size, np.array(size) / 2])
    assert (low >= -1e-9).all()
    assert (high <= np.array(scaled) + 1e-9).all()
    assert (low < 64).all()
    np.testing.assert_allclose(centre, np.array(scaled) / 2)
