"""Interpolation between rows: Delaunay simplices, closed forms, and what measured blocks say of its error."""

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from litepose_ofa.latency_tables import OperatorLatency
from litepose_ofa.latency_tables.interpolation import DIAGONAL, HALF_CURVATURE, ROUGHNESS, Interpolator, convex_weights
from litepose_ofa.supernet.archs.operators import Operator

Floats = NDArray[np.float64]

BLOCK = Operator("bottleneck", 32, 16, 96, 24, 7, 1, 6)


def power_law(operator: Operator) -> float:
    return 1e-6 * operator.resolution**1.7 * operator.in_channels**0.6 * operator.out_channels**0.8


def grid(*, sides: tuple[int, ...] = (16, 64), widths: tuple[int, ...] = (8, 32)) -> list[Operator]:
    return [
        replace(BLOCK, resolution=side, in_channels=c_in, mid_channels=6 * c_in, out_channels=c_out)
        for side, c_in, c_out in itertools.product(sides, widths, widths)
    ]


def sizes(operator: Operator) -> Floats:
    o = operator
    return np.log([o.resolution, o.in_channels, o.mid_channels, o.out_channels])


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_weights_are_coordinates_in_the_delaunay_simplex(dimensions: int) -> None:
    """Qhull triangulates the points after the linear map under which our form is the squared distance."""
    rng = np.random.default_rng(dimensions)
    points = rng.normal(size=(40, dimensions))
    form = np.eye(dimensions) - DIAGONAL * np.ones((dimensions, dimensions))
    stretch = np.linalg.cholesky(form)
    triangulation = Delaunay(points @ stretch)
    inside = 0
    for query in rng.normal(size=(60, dimensions)):
        simplex = int(triangulation.find_simplex(query @ stretch))
        weights = convex_weights(points, query)
        assert (weights is None) == (simplex == -1)
        if weights is not None:
            inside += 1
            corners = triangulation.simplices[simplex]
            system = np.vstack([points[corners].T, np.ones(dimensions + 1)])
            np.testing.assert_allclose(weights[corners], np.linalg.solve(system, [*query, 1.0]), atol=1e-7)
            assert np.delete(weights, corners).max() < 1e-9
    assert 10 < inside < 60


def test_a_cell_of_a_grid_is_cut_along_its_diagonal() -> None:
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
    for query, expected in (
        ((0.5, 0.5, 0.5), {(0, 0, 0): 0.5, (1, 1, 1): 0.5}),
        ((0.7, 0.2, 0.4), {(0, 0, 0): 0.3, (1, 0, 0): 0.3, (1, 0, 1): 0.2, (1, 1, 1): 0.2}),
    ):
        weights = convex_weights(corners, np.array(query))
        assert weights == pytest.approx([expected.get(tuple(map(int, c)), 0.0) for c in corners], abs=1e-9)


def test_flat_repeated_and_single_points() -> None:
    flat = np.array([[0.0, 2.0], [4.0, 2.0], [4.0, 2.0], [1.0, 2.0]])
    weights = convex_weights(flat, np.array([2.0, 2.0]))
    assert weights is not None
    assert weights @ flat == pytest.approx([2.0, 2.0])
    assert (weights[0], weights[3]) == pytest.approx((0.0, 2 / 3))
    assert convex_weights(flat, np.array([2.0, 2.1])) is None
    assert convex_weights(flat[:1], flat[0]) == pytest.approx([1.0])
    assert convex_weights(flat[:1], flat[0] + 1e-3) is None


def interpolate(rows: Mapping[Operator, OperatorLatency], wanted: Operator) -> OperatorLatency:
    answer = Interpolator(rows).interpolate(wanted)
    assert answer is not None
    return answer


def test_power_laws_are_exact() -> None:
    rows = {o: OperatorLatency(power_law(o), 0.0, 50, energy_mj=3 * power_law(o)) for o in grid()}
    for wanted in grid(sides=(16, 24, 40), widths=(8, 12, 24)):
        answer = interpolate(rows, wanted)
        assert (answer.ms, answer.energy_mj) == pytest.approx((power_law(wanted), 3 * power_law(wanted)))
        assert answer.samples == 0
    assert Interpolator(rows).interpolate(replace(BLOCK, resolution=65)) is None


def test_error_of_a_constant_curvature_is_half_of_it_times_the_squared_distance() -> None:
    """What the stated error rests on: with log ms = c / 2 |x|^2 the two are equal."""

    def ms(operator: Operator) -> float:
        return math.exp(HALF_CURVATURE * float(sizes(operator) @ sizes(operator)) - 5)

    rows = {o: OperatorLatency(ms(o), 0.0, 50) for o in grid()}
    for wanted in grid(sides=(24, 32), widths=(12, 20)):
        answer = interpolate(rows, wanted)
        error = math.log(answer.ms / ms(wanted))
        assert answer.std_ms / answer.ms == pytest.approx(math.hypot(ROUGHNESS, error))


def test_spread_in_closed_form() -> None:
    low, high = replace(BLOCK, resolution=16), replace(BLOCK, resolution=64)
    answer = interpolate(
        {low: OperatorLatency(1.0, 0.1, 50), high: OperatorLatency(4.0, 0.2, 50, energy_mj=2.0)}, BLOCK
    )
    assert answer.ms == pytest.approx(2.0)
    rows_spread, squared_distance = (0.1 + 0.05) / 2, math.log(2) ** 2
    assert answer.std_ms == pytest.approx(2 * math.hypot(rows_spread, ROUGHNESS, HALF_CURVATURE * squared_distance))
    assert answer.energy_mj is None


@pytest.mark.parametrize(("field", "other"), [("kernel", 5), ("stride", 2), ("expansion", 4), ("kind", "head")])
def test_rows_of_another_family_are_not_used(field: str, other: object) -> None:
    moved = {replace(o, **{field: other}): OperatorLatency(power_law(o), 0.0, 50) for o in grid()}
    assert Interpolator(moved).interpolate(BLOCK) is None


def test_the_order_of_the_rows_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    operators = grid(sides=(16, 32, 64), widths=(8, 16, 32))
    rows = [(o, OperatorLatency(float(rng.uniform(1, 2)), 0.1, 50)) for o in operators]
    wanted = replace(BLOCK, resolution=24, in_channels=12, mid_channels=72, out_channels=12)
    assert len({interpolate(dict(order), wanted) for order in (rows, rows[::-1], rows[5:] + rows[:5])}) == 1


def test_roughness_is_that_of_measured_blocks(reference_path: Callable[[str], Path]) -> None:
    groups: defaultdict[tuple[str, ...], dict[tuple[float, ...], float]] = defaultdict(dict)
    with reference_path("data/latency/sd855_note10_ofa_blocks.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["model_or_op"] == "mbconv":
                extras = tuple(part for part in row["note"].split(";") if part.startswith(("skip=", "se=", "hswish=")))
                family = (row["kernel"], row["stride"], row["expand"], *extras)
                shape = tuple(math.log(int(row[key])) for key in ("resolution", "in_ch", "out_ch"))
                groups[family][shape] = math.log(float(row["latency_ms"]))
    errors = []
    for blocks in groups.values():
        points, log_ms = np.array(list(blocks)), np.array(list(blocks.values()))
        for i in range(0, len(points), 3):
            others = np.arange(len(points)) != i
            weights = convex_weights(points[others], points[i])
            errors += [] if weights is None else [float(weights @ log_ms[others] - log_ms[i])]
    assert len(errors) > 100
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(ROUGHNESS, abs=0.005)
