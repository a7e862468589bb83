"""Decoding costs: the cost where it was measured and between, files read strictly, and a measurement of known clock."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from litepose_ofa.latency_tables.decoding.cost import PEOPLE_EXPONENT, DecodingCost, SizeCost, shipped_decoding_costs
from litepose_ofa.latency_tables.decoding.measurement import DecodingSettings, fit_size, make_heads, measure_decoding
from litepose_ofa.supernet.archs.space import PRESETS
from litepose_ofa.supernet.codec import decode_people
from litepose_ofa.supernet.errors import InputError

PEOPLE = (0, 1, 2, 5, 10)


def size_cost(image_size: int, base_ms: float, person_ms: float, spread: float = 0.1) -> SizeCost:
    measured = {n: base_ms + person_ms * n**PEOPLE_EXPONENT for n in PEOPLE}
    return SizeCost(image_size=image_size, base_ms=base_ms, person_ms=person_ms, spread=spread, measured_ms=measured)


def cost_of(*sizes: SizeCost) -> DecodingCost:
    return DecodingCost.load("host_cpu").model_copy(update={"name": "board", "sizes": sizes})


COST = cost_of(size_cost(96, 1.0, 0.1), size_cost(256, 3.0, 0.2, spread=0.3))


@given(image_size=st.integers(64, 512), people=st.floats(0, 10))
def test_a_cost_linear_in_the_pixels_is_met_between_the_sizes(image_size: int, people: float) -> None:
    def exact(size: int) -> SizeCost:
        return size_cost(size, 0.5 + 2e-5 * size**2, 0.1 + 1e-6 * size**2)

    cost = cost_of(*map(exact, (64, 160, 320, 512)))
    assert cost.ms(image_size, people) == pytest.approx(exact(image_size).ms(people), rel=1e-9)
    assert cost.std_ms(image_size, people) == pytest.approx(0.1 * cost.ms(image_size, people), rel=1e-9)


@pytest.mark.parametrize(
    ("image_size", "people", "message"),
    [
        (64, 5, r"measured at 96 to 256 pixels, not at 64; .*measure-decoding name=.* image_sizes=\[...,64\]"),
        (96, 11, r"measured up to 10 people, not 11; .*measure-decoding name=.* people_counts=\[...,11\]"),
        (96, float("nan"), "people is nan"),
    ],
)
def test_nothing_is_said_outside_what_was_measured(image_size: int, people: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        COST.ms(image_size, people)


def test_files_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    COST.save(path)
    assert DecodingCost.load(path) == COST
    assert DecodingCost.load(path).digest == COST.digest
    assert COST.model_copy(update={"threads": 2}).digest != COST.digest
    with pytest.raises(InputError, match="unknown decoding cost 'toaster'; shipped: host_cpu"):
        DecodingCost.load("toaster")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2; it must be one of 1"),
        ({"sizes": []}, "the image sizes is "),
        ({"measured_ms": {0: 0.0}}, r"sizes\[1\].measured_ms\[0\] is 0.0"),
        ({"image_size": 96}, "the image sizes is"),
        ({"measured_ms": {0: 1.0}}, "the numbers of people is"),
    ],
)
def test_a_malformed_file_is_refused_and_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    value, path = COST.to_dict(), tmp_path / "board.yaml"
    (value["sizes"][1] if change.keys() <= value["sizes"][1].keys() else value).update(change)
    path.write_text(yaml.safe_dump(value))
    with pytest.raises(InputError, match=f"board.yaml: .*{message}"):
        DecodingCost.load(path)


@pytest.mark.parametrize("name", shipped_decoding_costs())
def test_shipped_costs_serve_the_presets_and_fit_their_measurements(name: str) -> None:
    cost = DecodingCost.load(name)
    assert cost.name == name
    for image_size in {size for space in PRESETS.values() for size in space.image_sizes}:
        assert 0 < cost.ms(image_size, 0) < cost.ms(image_size, 5) < cost.ms(image_size, 30)
    assert max(size.mean_error for size in cost.sizes) < 0.1


def test_the_fit_finds_the_cost_that_made_the_times() -> None:
    exact = size_cost(128, 2.0, 0.25)
    fitted = fit_size(128, {n: [exact.ms(n)] * 3 for n in PEOPLE})
    assert (fitted.base_ms, fitted.person_ms, fitted.spread) == pytest.approx((2.0, 0.25, 0), abs=1e-4)
    assert fitted.measured_ms == pytest.approx(exact.measured_ms, abs=1e-4)
    scattered = fit_size(128, {0: [0.9, 1.1], 10: [1.8, 2.2]})
    assert scattered.spread == pytest.approx(0.1 * (4 / 2) ** 0.5, rel=0.02)  # four scenes, two coefficients
    assert fit_size(128, {0: [2.0, 2.0], 10: [1.9, 1.9]}).person_ms == 0, "people never cost less than nothing"


@pytest.mark.parametrize("people", [0, 1, 3])
def test_the_scenes_hold_their_people(people: int) -> None:
    head0, head1 = make_heads(256, people, np.random.default_rng(people))
    assert (head0.shape, head1.shape) == ((1, 28, 64, 64), (1, 14, 128, 128))
    found, scores = decode_people(head0[:, :14], head0[:, 14:])[0]
    assert (scores > 0.15).sum() == people
    assert np.count_nonzero(found[:people, :, 2]) >= 0.8 * 14 * people


def test_a_measurement_reads_its_clock_around_every_frame() -> None:
    """A clock that jumps a second more at each reading: every frame takes another time, and none is lost."""
    ticks = itertools.accumulate(itertools.count())
    rounds: list[int] = []
    settings = DecodingSettings(image_sizes=(96, 128), people_counts=(0, 1), scenes=2, rounds=2, frame=(64, 48))
    cost = measure_decoding(
        "board", settings, np.random.default_rng(0), clock=lambda: float(next(ticks)), on_round=rounds.append
    )
    assert rounds == [1, 1, 1]
    assert [size.image_size for size in cost.sizes] == [96, 128]
    assert [tuple(size.measured_ms) for size in cost.sizes] == [(0, 1), (0, 1)]
    # Readings 2j and 2j + 1 of frame j are 2j + 1 seconds apart; the median of the two rounds' is that of their middle.
    frame_ms = {cell: 1000 * (2 * (8 + cell) + 1 + 2 * (16 + cell) + 1) / 2 for cell in range(8)}
    assert cost.sizes[0].measured_ms == {0: (frame_ms[0] + frame_ms[1]) / 2, 1: (frame_ms[2] + frame_ms[3]) / 2}
    assert DecodingCost(**cost.to_dict()) == cost
