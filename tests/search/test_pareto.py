"""Fronts, ranks, crowding and hypervolume against their definitions, of pairs and of more coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from litepose_ofa.search.pareto import (
    crowding_distances,
    hypervolume,
    hypervolume_gains,
    non_dominated,
    non_dominated_ranks,
)

coordinates = st.integers(0, 6).map(float)


def point_lists(num_coordinates: int) -> st.SearchStrategy[NDArray[np.float64]]:
    return st.lists(st.tuples(*[coordinates] * num_coordinates), min_size=1, max_size=25).map(np.array)


any_points = st.integers(1, 4).flatmap(point_lists)
pairs = point_lists(2)


def dominates(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool((a <= b).all() and (a < b).any())


def ranks_by_peeling(points: NDArray[np.float64]) -> list[int]:
    ranks, left, rank = [-1] * len(points), set(range(len(points))), 0
    while left:
        front = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


@given(any_points)
@settings(max_examples=200, deadline=None)
def test_ranks_are_the_fronts_peeled_one_by_one(points: NDArray[np.float64]) -> None:
    expected = ranks_by_peeling(points)
    assert non_dominated_ranks(points).tolist() == expected
    if points.shape[1] == 2:
        assert non_dominated(points).tolist() == [rank == 0 for rank in expected]


@given(pairs)
@settings(max_examples=100, deadline=None)
def test_hypervolume_is_the_number_of_dominated_unit_squares(points: NDArray[np.float64]) -> None:
    corners = np.stack(np.meshgrid(range(7), range(7)), axis=-1).reshape(-1, 2)
    dominated = (points[:, None] <= corners[None]).all(axis=2).any(axis=0)
    assert hypervolume(points, (7, 7)) == pytest.approx(dominated.sum())


def test_points_at_or_beyond_the_reference_do_not_count() -> None:
    points = np.array([[0.0, 2.0], [2.0, 0.0], [0.5, 0.5]])
    assert hypervolume(points, (2, 2)) == pytest.approx(1.5 * 1.5)
    assert hypervolume(points[:0], (2, 2)) == 0


@given(pairs, pairs)
@settings(max_examples=100, deadline=None)
def test_a_gain_is_the_difference_of_two_hypervolumes(points: NDArray[np.float64], front: NDArray[np.float64]) -> None:
    reference = (5.0, 6.0)
    before = hypervolume(front, reference)
    expected = [hypervolume(np.vstack([front, point]), reference) - before for point in points]
    assert hypervolume_gains(points, front, reference) == pytest.approx(np.array(expected))


def test_the_gain_over_nothing_is_the_own_area() -> None:
    assert hypervolume_gains(np.array([[1.0, 2.0], [4.0, 0.0]]), np.zeros((0, 2)), (3, 5)).tolist() == [6, 0]


def test_crowding_is_the_extent_between_neighbours_on_the_own_front() -> None:
    points = np.array([[0, 10], [1, 8], [4, 4], [10, 0], [5, 9], [9, 8], [20, 20]], float)
    ranks = np.array([0, 0, 0, 0, 1, 1, 2])
    inner = [(4 - 0) / 10 + (10 - 4) / 10, (10 - 1) / 10 + (8 - 0) / 10]
    expected = [np.inf, *inner, np.inf, np.inf, np.inf, np.inf]
    np.testing.assert_allclose(crowding_distances(points, ranks), expected)


def test_a_front_of_equal_points_has_no_extent() -> None:
    distances = crowding_distances(np.ones((4, 2)), np.zeros(4, np.intp))
    assert not np.isnan(distances).any()
    assert np.isinf(distances).sum() >= 1


@pytest.mark.parametrize("num_coordinates", [2, 3])
def test_no_points(num_coordinates: int) -> None:
    empty = np.zeros((0, num_coordinates))
    assert non_dominated_ranks(empty).shape == (0,)
    assert crowding_distances(empty, np.zeros(0, np.intp)).shape == (0,)
