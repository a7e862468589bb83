"""The network's wiring: what an operator reads, what determines it, and which maps live beside it."""

import random

import pytest

from litepose_ofa.supernet.archs.operators import operators_of, places_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace


@pytest.mark.parametrize("depths", [(1, 1, 1, 1), (2, 1, 3, 2), (6, 8, 10, 10)])
def test_every_operator_reads_maps_of_one_size_and_the_heads_are_all_that_is_left(depths: tuple[int, ...]) -> None:
    places = places_of(depths)
    by_name = {place.name: place for place in places}
    read = {i for place in places for i in place.inputs}
    assert [place.name for i, place in enumerate(places) if i not in read] == ["head.0", "head.1"]
    for place in places:
        assert all(places[i].out_reduction == place.reduction for i in place.inputs)
        assert len(place.layers) == len({layer.convolution for layer in place.layers})
    raw = {name: places[by_name[name].inputs[1]].name for name in ("deconv.0", "head.0", "deconv.2", "head.1")}
    last = [f"stage.{s}.{depth - 1}" for s, depth in enumerate(depths)]
    assert raw == {"deconv.0": last[2], "head.0": last[0], "deconv.2": last[0], "head.1": "stem"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_map_lives_from_its_writer_to_its_last_reader(name: str) -> None:
    arch = SearchSpace.preset(name).sample(random.Random(0))
    places = places_of(arch.depths)
    for number, place in enumerate(places):
        later = {i for other in places[number + 1 :] for i in other.inputs}
        heads = {i for i in range(number) if places[i].kind == "head"}
        assert set(place.beside) == {i for i in range(number) if i in later | heads and i not in place.inputs}
        assert place.kept == tuple(i in later for i in place.inputs)


def test_an_operator_is_determined_by_the_choices_of_its_place() -> None:
    space, rng = SearchSpace.preset("litepose"), random.Random(1)
    for _ in range(20):
        arch = space.sample(rng)
        chosen = arch.chosen
        for place, operator in zip(places_of(arch.depths), operators_of(arch, 17), strict=True):
            assert place.operator({name: chosen[name] for name in place.choices}, 17) == operator
