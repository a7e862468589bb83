"""Decoding against golden values and, bit for bit, against the plain implementation beside this file."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.codec import decode_people
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json

Array = npt.NDArray[Any]
Scene = tuple[Array, Array]

plain_decode = runpy.run_path(str(Path(__file__).with_name("plain_grouping.py")))["plain_decode"]

GOLDEN_CASES = ["P5_K14_128x128_refine0", "P5_K14_128x128_refine1", "P8_K17_96x160_refine0", "P8_K17_96x160_refine1"]


def golden_scene(name: str) -> Scene:
    num_people, num_keypoints, height, width = (int(number) for number in re.findall(r"\d+", name)[:4])
    heatmaps, tags = np.zeros((num_keypoints, height, width)), np.zeros((num_keypoints, height, width))
    rows, columns = np.mgrid[:height, :width]
    for p in range(num_people):
        centre_x, centre_y = (p % 4 + 0.5) * width / 4, (p // 4 + 0.5) * height / ((num_people + 3) // 4)
        for k in range(num_keypoints):
            if (3 * p + k) % 9 == 0:
                continue
            x = centre_x + 0.09 * width * np.sin(1.7 * k + p)
            y = centre_y + 0.09 * height * np.cos(2.3 * k + 2 * p)
            response = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) * (0.55 + 0.4 * abs(np.sin(p + 0.3 * k)))
            heatmaps[k] = np.maximum(heatmaps[k], response)
            tags[k][response > 0.02] = 1.5 * p + 0.05 * np.sin(k)
    return heatmaps, tags


def random_scene(kind: str, seed: int, num_tags: int = 1) -> Scene:
    """Blobs of people at random places, or noise; heatmaps (K, H, W), tags (K, H, W, L)."""
    rng = np.random.default_rng(seed)
    num_keypoints, height, width = int(rng.choice([1, 5, 14, 17, 20])), *rng.integers(20, 40, 2).tolist()
    shape = (num_keypoints, height, width)
    if kind == "noise":
        return rng.uniform(-0.5, 1, shape), rng.normal(0, 2, (*shape, num_tags))
    if kind == "flat":
        return np.full(shape, rng.choice([-0.5, 0.0, 0.05, 0.5])), np.full((*shape, num_tags), 1.5)
    if kind == "nobody":
        return rng.uniform(-1, 0.1, shape), rng.normal(0, 2, (*shape, num_tags))
    heatmaps = np.zeros(shape)
    tags = rng.normal(0, 0.2, (*shape, num_tags))
    rows, columns = np.mgrid[:height, :width] + 0.5
    spacing = {"crossing": 1.2, "equal tags": 0.0, "apart": 3.0}[kind]
    for p in range(int(rng.integers(1, 7))):
        for k in range(num_keypoints):
            if rng.random() < 0.25:
                continue
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            response = rng.uniform(0.05, 1) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
            tags[k][response > heatmaps[k]] = spacing * p + rng.normal(0, 0.3, num_tags)
            heatmaps[k] = np.maximum(heatmaps[k], response)
    return heatmaps, tags


def assert_as_plain(heatmaps: Array, tags: Array, refine: bool = True, **settings: float) -> int:
    """Compare every bit with the plain implementation; return the number of people."""
    expected, expected_scores = plain_decode(heatmaps, tags, refine, **settings)
    people, scores = decode_people(heatmaps[None], tags[None], refine, **settings)[0]
    np.testing.assert_array_equal(people, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    return len(people)


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_golden_people(case: str, reference_path: Callable[[str], Path]) -> None:
    golden = read_json(reference_path("golden/grouping_and_losses.json"))[case]
    heatmaps, tags = golden_scene(case)
    people, scores = decode_people(heatmaps[None], tags[None], refine=case.endswith("1"))[0]
    np.testing.assert_allclose(people, golden["people"], atol=6e-5)
    np.testing.assert_allclose(scores, golden["scores"], atol=6e-6)
    plain_people, _ = plain_decode(heatmaps, tags[..., None], refine=case.endswith("1"))
    np.testing.assert_allclose(plain_people, golden["people"], atol=6e-5)


@pytest.mark.parametrize("num_tags", [1, 2, 4])
@pytest.mark.parametrize("kind", ["apart", "crossing", "equal tags", "noise", "flat", "nobody"])
def test_equals_the_plain_implementation(kind: str, num_tags: int) -> None:
    for seed, dtype in enumerate((np.float32, np.float64, np.float32)):
        heatmaps, tags = random_scene(kind, 5 * num_tags + seed, num_tags)
        num_people = assert_as_plain(heatmaps.astype(dtype), tags.astype(dtype), refine=seed > 0)
        assert num_people == 0 or kind != "nobody"


@settings(max_examples=400, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), num_tags=st.integers(1, 3), max_people=st.integers(1, 40))
def test_equals_the_plain_implementation_on_coarse_maps(
    data: st.DataObject, seed: int, num_tags: int, max_people: int
) -> None:
    shape = (data.draw(st.integers(1, 20)), data.draw(st.integers(1, 18)), data.draw(st.integers(1, 18)))
    broken = data.draw(st.sampled_from([0.0, 0.02, 0.5]))
    levels, tag_levels = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 6))
    rng = np.random.default_rng(seed)
    heatmaps = (rng.integers(-levels, levels + 1, shape) / levels).astype(np.float32)
    tags = (rng.integers(0, tag_levels, (*shape, num_tags)) * rng.choice([0.25, 0.5, 1.1])).astype(np.float32)
    for maps in (heatmaps, tags):
        where = rng.random(maps.shape) < broken / maps.shape[-1]
        maps[where] = rng.choice([np.nan, np.inf, -np.inf], np.count_nonzero(where))
    assert_as_plain(
        heatmaps,
        tags,
        data.draw(st.booleans()),
        max_people=max_people,
        threshold=data.draw(st.sampled_from([0.0, 0.1, 0.7])),
        tag_threshold=data.draw(st.sampled_from([0.3, 1.0, 2.0])),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_the_plain_implementation_on_maps_of_many_blocks(dtype: npt.DTypeLike) -> None:
    rng = np.random.default_rng(7)
    heatmaps, tags = golden_scene("P9_K6_150x211")
    heatmaps += rng.normal(0, 0.02, heatmaps.shape)
    tags = tags[..., None] + rng.normal(0, 0.2, (*tags.shape, 2))
    heatmaps[2], heatmaps[4] = 0.05, np.maximum(heatmaps[4].round(1), 0)
    tags[2] = tags[2, :1, :1]
    assert assert_as_plain(heatmaps.astype(dtype), tags.astype(dtype)) >= 9


def test_best_keeps_those_of_the_highest_scores() -> None:
    heatmaps, tags = random_scene("noise", 1)
    everyone, scores = decode_people(heatmaps[None], tags[None])[0]
    some, some_scores = decode_people(heatmaps[None], tags[None], best=5)[0]
    assert len(everyone) > 5
    np.testing.assert_array_equal(some, everyone[:5])
    np.testing.assert_array_equal(some_scores, np.sort(scores)[::-1][:5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maps_of_a_diverged_network(dtype: npt.DTypeLike) -> None:
    rng = np.random.default_rng(0)
    heatmaps, _ = random_scene("apart", 4)
    heatmaps *= rng.choice([1, 1e30, -3e38 if dtype == np.float32 else 1e300], heatmaps.shape)
    tags = rng.choice([-3e38, 1e25, 0, 3e38 if dtype == np.float32 else 1e300], (*heatmaps.shape, 2))
    assert assert_as_plain(heatmaps.astype(dtype), tags.astype(dtype)) > 0
    people, scores = decode_people(heatmaps[None].astype(dtype), tags[None].astype(dtype))[0]
    assert np.isfinite(people).all()
    assert np.isfinite(scores).all()


def test_views_and_whole_arrays_agree_and_are_left_alone() -> None:
    heatmaps, tags = random_scene("crossing", 3, num_tags=2)
    before = heatmaps.copy(), tags.copy()
    expected, _ = decode_people(heatmaps[None], tags[None])[0]
    views = heatmaps.copy(order="F"), np.moveaxis(np.ascontiguousarray(np.moveaxis(tags, -1, 0)), 0, -1)
    tensors = torch.from_numpy(heatmaps).movedim(0, -1).clone().movedim(-1, 0), torch.from_numpy(tags)
    for some_heatmaps, some_tags in (views, tensors):
        np.testing.assert_array_equal(decode_people(some_heatmaps[None], some_tags[None])[0][0], expected)
    np.testing.assert_array_equal(heatmaps, before[0])
    np.testing.assert_array_equal(tags, before[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_any_width_and_arrays_agree(dtype: torch.dtype) -> None:
    heatmaps = np.zeros((1, 3, 9, 9))
    heatmaps[0, [0, 0, 1, 2], [2, 6, 3, 5], [2, 7, 3, 6]] = 0.75, 0.5, 0.625, 0.25
    tags = np.broadcast_to(np.arange(9.0), heatmaps.shape)
    expected, _ = decode_people(heatmaps, tags)[0]
    assert len(expected) == 4
    tensors = torch.tensor(heatmaps, dtype=dtype, requires_grad=True), torch.tensor(tags, dtype=dtype)
    np.testing.assert_array_equal(decode_people(*tensors)[0][0], expected)


def test_images_of_a_batch_do_not_meet() -> None:
    scenes = [golden_scene(f"P{people}_K14_32x48") for people in (2, 4, 1)]
    batch = decode_people(np.stack([scene[0] for scene in scenes]), np.stack([scene[1] for scene in scenes]))
    assert decode_people(np.zeros((0, 3, 8, 8)), np.zeros((0, 3, 8, 8))) == []
    for (people, scores), (heatmaps, tags) in zip(batch, scenes, strict=True):
        alone, alone_scores = decode_people(heatmaps[None], tags[None])[0]
        np.testing.assert_array_equal(people, alone)
        np.testing.assert_array_equal(scores, alone_scores)


@pytest.mark.parametrize(
    ("heatmaps", "tags", "named"),
    [
        ((1, 3, 8, 8), (1, 3, 8, 9), r"\(1, 3, 8, 9\)"),
        ((1, 3, 0, 8), (1, 3, 0, 8), "without 0"),
        ((1, 3, 8, 8), (1, 3, 8, 8, 0), "without 0"),
    ],
)
def test_refuses_what_does_not_fit(heatmaps: tuple[int], tags: tuple[int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        decode_people(np.zeros(heatmaps), np.zeros(tags))
