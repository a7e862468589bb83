"""Grouping against golden values and against a plain implementation of the same rules."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from supernet.codec import decode_people
from supernet.codec.grouping import joint_order
from supernet.files import read_json

Array = npt.NDArray[np.float64]
Scene = tuple[Array, Array]

GOLDEN_CASES = ["P5_K14_128x128_refine0", "P5_K14_128x128_refine1", "P8_K17_96x160_refine0", "P8_K17_96x160_refine1"]


def plain_decode(heatmaps: Array, tags: Array, *, refine: bool, most: int = 30) -> tuple[Array, Array]:
    """One image; heatmaps (K, H, W), tags (K, H, W, L); one step after the other, as the rules are written."""
    people: list[dict[int, tuple[int, int, float]]] = []
    num_keypoints = len(heatmaps)
    for k in [k for k in (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16) if k < num_keypoints]:
        peaks = plain_peaks(heatmaps[k])[:most]
        before = list(people)
        means = [np.mean([tags[j, y, x] for j, (x, y, _) in person.items()], axis=0) for person in before]
        cost = np.zeros((len(peaks), len(before)))
        for row, (x, y, score) in enumerate(peaks):
            for column, mean in enumerate(means):
                cost[row, column] = round(float(np.linalg.norm(tags[k, y, x] - mean))) * 100 - score
        owner = dict(zip(*(indices.tolist() for indices in linear_sum_assignment(cost)), strict=True))
        for row, (x, y, score) in enumerate(peaks):
            column = owner.get(row)
            if column is not None and np.linalg.norm(tags[k, y, x] - means[column]) < 1:
                before[column][k] = (x, y, score)
            else:
                people.append({k: (x, y, score)})
    scores = np.array([sum(joint[2] for joint in person.values()) / num_keypoints for person in people])
    found = np.zeros((len(people), num_keypoints, 3))
    for i, person in enumerate(people):
        if refine:
            plain_refine(person, heatmaps, tags)
        for k, (x, y, score) in person.items():
            found[i, k] = (*plain_sub_pixel(heatmaps[k], x, y), score)
    order = np.argsort(-scores, kind="stable")
    return found[order], scores[order]


def plain_peaks(heatmap: Array) -> list[tuple[int, int, float]]:
    height, width = heatmap.shape
    peaks = []
    for y in range(height):
        for x in range(width):
            around = heatmap[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            if heatmap[y, x] > 0.1 and heatmap[y, x] == around.max():
                peaks.append((x, y, float(heatmap[y, x])))
    return sorted(peaks, key=lambda peak: -peak[2])


def plain_refine(person: dict[int, tuple[int, int, float]], heatmaps: Array, tags: Array) -> None:
    mean = np.mean([tags[j, y, x] for j, (x, y, _) in person.items()], axis=0)
    for k in set(range(len(heatmaps))) - set(person):
        fitness = heatmaps[k] - np.round(np.linalg.norm(tags[k] - mean, axis=-1))
        y, x = (int(i) for i in np.unravel_index(int(fitness.argmax()), fitness.shape))
        if heatmaps[k, y, x] > 0:
            person[k] = (x, y, float(heatmaps[k, y, x]))


def plain_sub_pixel(heatmap: Array, x: int, y: int) -> tuple[float, float]:
    height, width = heatmap.shape
    right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
    below = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
    return x + 0.5 + (0.25 if right else -0.25), y + 0.5 + (0.25 if below else -0.25)


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
    num_keypoints, height, width = int(rng.choice([5, 14, 17])), int(rng.integers(20, 40)), int(rng.integers(20, 40))
    if kind == "noise":
        return rng.uniform(-0.5, 1, (num_keypoints, height, width)), rng.normal(
            0, 2, (num_keypoints, height, width, num_tags)
        )
    heatmaps = np.zeros((num_keypoints, height, width))
    tags = rng.normal(0, 0.2, (num_keypoints, height, width, num_tags))
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


@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_golden_people(case: str, reference_path: Callable[[str], Path]) -> None:
    golden = read_json(reference_path("golden/grouping_and_losses.json"))[case]
    heatmaps, tags = golden_scene(case)
    people, scores = decode_people(heatmaps[None], tags[None], refine=case.endswith("1"))[0]
    np.testing.assert_allclose(people, golden["people"], atol=6e-5)
    np.testing.assert_allclose(scores, golden["scores"], atol=6e-6)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("kind", ["apart", "crossing", "equal tags", "noise"])
@pytest.mark.parametrize("num_tags", [1, 2])
def test_equals_the_plain_implementation(kind: str, refine: bool, num_tags: int) -> None:
    for seed in range(4):
        heatmaps, tags = random_scene(kind, seed, num_tags)
        expected, expected_scores = plain_decode(heatmaps, tags, refine=refine)
        people, scores = decode_people(heatmaps[None], tags[None], refine)[0]
        np.testing.assert_allclose(people, expected, rtol=1e-6)
        np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)


def test_keeps_the_best_candidates_of_a_joint() -> None:
    rng = np.random.default_rng(3)
    heatmaps = np.zeros((2, 60, 60))
    heatmaps[:, 5::6, 5::6] = rng.permutation(200).reshape(2, 10, 10) / 250 + 0.15
    tags = np.repeat(5.0 * np.arange(3600).reshape(1, 60, 60, 1), 2, axis=0)
    people, _ = decode_people(heatmaps[None], tags[None], refine=False)[0]
    assert np.count_nonzero(people[:, :, 2], axis=0).tolist() == [30, 30]
    np.testing.assert_allclose(people, plain_decode(heatmaps, tags, refine=False)[0], rtol=1e-6)
    best = np.sort(heatmaps.reshape(2, -1), axis=1)[:, :-4:-1]
    few, _ = decode_people(heatmaps[None], tags[None], refine=False, max_people=3)[0]
    np.testing.assert_allclose(np.sort(few[few[:, 0, 2] > 0, 0, 2])[::-1], best[0], rtol=1e-6)


def test_flat_maps_give_no_more_than_the_limit() -> None:
    people, scores = decode_people(np.full((1, 3, 12, 12), 0.5), np.zeros((1, 3, 12, 12)))[0]
    assert people.shape == (30, 3, 3)
    assert np.all(scores > 0)


def test_nothing_above_the_threshold_is_nobody() -> None:
    people, scores = decode_people(np.full((2, 14, 8, 8), 0.1), np.zeros((2, 14, 8, 8)))[1]
    assert people.shape == (0, 14, 3)
    assert scores.shape == (0,)
    assert (people.dtype, scores.dtype) == (np.float32, np.float32)


def test_best_keeps_those_of_the_highest_scores() -> None:
    heatmaps, tags = random_scene("noise", 1)
    everyone, scores = decode_people(heatmaps[None], tags[None])[0]
    some, some_scores = decode_people(heatmaps[None], tags[None], best=5)[0]
    assert len(everyone) > 5
    np.testing.assert_array_equal(some, everyone[:5])
    np.testing.assert_array_equal(some_scores, np.sort(scores)[::-1][:5])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_no_response(value: float) -> None:
    heatmaps, tags = random_scene("apart", 2)
    clean, _ = decode_people(np.where(np.arange(heatmaps.shape[2]) < 9, 0, heatmaps)[None], tags[None])[0]
    for broken in (heatmaps, tags):
        broken[:, :, :9] = value
    people, _ = decode_people(heatmaps[None], np.where(np.isfinite(tags), tags, 0)[None])[0]
    assert len(people) == len(clean)
    people, _ = decode_people(np.where(np.isfinite(heatmaps), heatmaps, 1)[None], tags[None])[0]
    assert len(people) == len(clean)
    nobody, _ = decode_people(np.full((1, 2, 6, 6), value), np.full((1, 2, 6, 6), value))[0]
    assert len(nobody) == 0


def test_tags_of_a_diverged_network() -> None:
    heatmaps, _ = random_scene("apart", 4)
    tags = np.random.default_rng(0).choice([-3e38, 1e25, 0, 3e38], heatmaps.shape).astype(np.float32)
    people, scores = decode_people(heatmaps[None].astype(np.float32), tags[None])[0]
    assert len(people) > 0
    assert np.isfinite(people).all()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
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
    for (people, scores), (heatmaps, tags) in zip(batch, scenes, strict=True):
        alone, alone_scores = decode_people(heatmaps[None], tags[None])[0]
        np.testing.assert_array_equal(people, alone)
        np.testing.assert_array_equal(scores, alone_scores)


def test_mirrored_maps_give_mirrored_people() -> None:
    for seed in range(5):
        heatmaps, tags = random_scene("apart", seed)
        people, scores = decode_people(heatmaps[None], tags[None], refine=False)[0]
        mirrored, mirrored_scores = decode_people(heatmaps[None, :, :, ::-1], tags[None, :, :, ::-1], refine=False)[0]
        np.testing.assert_allclose(mirrored_scores, scores, rtol=1e-6)
        inner = (people[..., 0] > 1) & (people[..., 0] < heatmaps.shape[2] - 1)
        np.testing.assert_allclose(mirrored[inner][:, 0], heatmaps.shape[2] - people[inner][:, 0], rtol=1e-6)


def test_refinement_fills_a_joint_below_the_threshold_and_keeps_the_score() -> None:
    heatmaps, tags = np.zeros((2, 8, 8)), np.zeros((2, 8, 8))
    heatmaps[0, 2, 3] = 0.8
    heatmaps[1, 6, 5] = 0.05
    heatmaps[1, 1, 1], tags[1, 1, 1] = 0.09, 3.0
    found, score = decode_people(heatmaps[None], tags[None], refine=False)[0]
    filled, filled_score = decode_people(heatmaps[None], tags[None], refine=True)[0]
    np.testing.assert_allclose(found[0], [[3.25, 2.25, 0.8], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(filled[0], [[3.25, 2.25, 0.8], [5.25, 6.25, 0.05]], rtol=1e-6)
    np.testing.assert_allclose([*score, *filled_score], [0.4, 0.4], rtol=1e-6)


def test_order_of_joints() -> None:
    assert joint_order(17) == [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]
    assert joint_order(14) == [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13]
    assert joint_order(12) == [0, 1, 2, 3, 4, 5, 6, 11, 7, 8, 9, 10]
    assert joint_order(3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("heatmaps", "tags", "threshold", "named"),
    [
        ((1, 3, 8, 8), (1, 3, 8, 9), 0.1, r"\(1, 3, 8, 9\)"),
        ((3, 8, 8), (3, 8, 8), 0.1, r"\(3, 8, 8\)"),
        ((1, 3, 8, 8), (1, 3, 8, 8), -0.5, "threshold is -0.5"),
    ],
)
def test_refuses_what_does_not_fit(heatmaps: tuple[int], tags: tuple[int], threshold: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        decode_people(np.zeros(heatmaps), np.zeros(tags), threshold=threshold)
