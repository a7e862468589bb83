"""The search for missing joints against looking at every pixel."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.codec import refinement
from litepose_ofa.supernet.codec.refinement import fittest_pixels

Array = npt.NDArray[np.float64]


def fittest_of_all(heatmap: Array, tags: Array, mean_tags: Array) -> list[int]:
    return [
        int((heatmap - np.round(np.sqrt(((tags - mean) * (tags - mean)).sum(axis=2)))).argmax()) for mean in mean_tags
    ]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    num_people=st.integers(0, 6),
    num_tags=st.integers(1, 3),
    levels=st.integers(1, 100),
    smooth=st.booleans(),
)
def test_finds_what_looking_everywhere_finds(
    seed: int, size: tuple[int, int], num_people: int, num_tags: int, levels: int, smooth: bool
) -> None:
    rng = np.random.default_rng(seed)
    heatmap = rng.integers(-levels, levels + 1, size) / levels
    tags = rng.integers(-9, 10, (*size, num_tags)) / 2
    if smooth:
        tags = np.repeat(np.repeat(tags[::8, ::8], 8, axis=0), 8, axis=1)[: size[0], : size[1]]
    mean_tags = rng.normal(0, 4, (num_people, num_tags))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refinement, "USUAL_BLOCKS", int(rng.choice([1, 10, 100, 1000])))
        patch.setattr(refinement, "FEW_TAGS", int(rng.choice([0, refinement.FEW_TAGS])))
        found = fittest_pixels(heatmap, tags, mean_tags)
    assert found.tolist() == fittest_of_all(heatmap, tags, mean_tags)


def test_looks_at_few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    heatmap, tags = rng.normal(0, 0.02, (256, 320)), rng.normal(0, 0.3, (256, 320, 1))
    looked_at: list[int] = []
    among = refinement._fittest_among

    def counting(pixels: npt.NDArray[np.intp], *maps: Array) -> object:
        looked_at.append(pixels.size)
        return among(pixels, *maps)

    monkeypatch.setattr(refinement, "_fittest_among", counting)
    assert fittest_pixels(heatmap, tags, np.zeros((1, 1))).tolist() == fittest_of_all(heatmap, tags, np.zeros((1, 1)))
    assert sum(looked_at) < heatmap.size / 20
