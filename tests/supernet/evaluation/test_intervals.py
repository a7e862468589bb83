"""Bootstrap intervals against datasets that were resampled and evaluated one by one, and against a known population."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import ap_interval, compare_people, evaluate_keypoints
from litepose_ofa.supernet.evaluation.intervals import ap_difference
from litepose_ofa.supernet.evaluation.matching import Matches
from litepose_ofa.supernet.files import write_json

Json = dict[str, Any]
MakeDataset = Callable[..., Json]
MakePredictions = Callable[..., list[Json]]


def resampled(dataset: Json, predictions: list[Json], drawn: list[int]) -> tuple[Json, list[Json]]:
    """Return the dataset of the images at these places, under ids of their own."""
    images: list[Json] = []
    people: list[Json] = []
    found: list[Json] = []
    for number, place in enumerate(sorted(drawn), start=1):
        image = dataset["images"][place]
        images.append({**image, "id": number, "file_name": f"{number}.jpg"})
        mine = [person for person in dataset["annotations"] if person["image_id"] == image["id"]]
        people += [{**person, "id": len(people) + i + 1, "image_id": number} for i, person in enumerate(mine)]
        found += [{**p, "image_id": number} for p in predictions if p["image_id"] == image["id"]]
    return {**dataset, "images": images, "annotations": people}, found


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_the_interval_is_that_of_resampled_datasets(
    skeleton: Skeleton, tmp_path: Path, make_dataset: MakeDataset, noisy_predictions: MakePredictions
) -> None:
    dataset = make_dataset(skeleton, seed=4)
    predictions = noisy_predictions(dataset, equal_scores=False)
    path = tmp_path / "people.json"
    write_json(path, dataset)
    interval = ap_interval(compare_people(path, predictions, skeleton).matches, resamples=9, confidence=0.8, seed=3)
    rng = np.random.default_rng(3)
    aps = []
    for number in range(9):
        again, found = resampled(dataset, predictions, rng.integers(12, size=12).tolist())
        write_json(tmp_path / f"{number}.json", again)
        aps.append(evaluate_keypoints(tmp_path / f"{number}.json", found, skeleton)["AP"])
    assert [interval.low, interval.high] == pytest.approx(np.percentile(aps, [10, 90]).tolist(), abs=1e-12)
    assert interval.low < interval.high


def population(num_images: int, seed: int) -> Matches:
    """Images of one to five people each, some images harder than others, all of one threshold."""
    rng = np.random.default_rng(seed)
    people = rng.integers(1, 6, num_images)
    images = np.repeat(np.arange(num_images), people)
    correct = rng.random(len(images)) < rng.beta(4, 2, num_images)[images]
    scores = rng.normal(correct, 1.0)
    order = np.argsort(-scores)
    return Matches(
        scores=scores[order],
        images=images[order],
        correct=correct[None, order],
        wrong=~correct[None, order],
        labelled=people,
        pairs=np.zeros((2, 0), np.int64),
        recall_levels=np.linspace(0, 1, 101),
    )


def test_equal_images_have_no_interval_and_empty_draws_are_left_out() -> None:
    found = Matches(
        scores=np.array([0.9, 0.8]),
        images=np.array([0, 1]),
        correct=np.array([[True, True]]),
        wrong=np.array([[False, False]]),
        labelled=np.array([1, 1, 0, 0]),
        pairs=np.zeros((2, 0), np.int64),
        recall_levels=np.linspace(0, 1, 101),
    )
    interval = ap_interval(found, resamples=200)
    assert (interval.low, interval.high) == pytest.approx((1, 1), abs=1e-12)


@pytest.mark.parametrize(("name", "value"), [("resamples", 0), ("confidence", 1.0), ("confidence", 0.0)])
def test_settings_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is {value}"):
        ap_interval(population(5, seed=3), **{name: value})


def worse(matches: Matches, share: float, seed: int) -> Matches:
    """The same images and people, some of the found ones missed."""
    missed = np.random.default_rng(seed).random(matches.correct.shape) < share
    return dataclasses.replace(matches, correct=matches.correct & ~missed, wrong=matches.wrong | missed)


def test_a_difference_is_that_of_the_aps_on_every_draw() -> None:
    ours = population(40, seed=1)
    theirs = worse(ours, 0.2, seed=2)
    found = ap_difference(ours, theirs, resamples=50, confidence=0.9, seed=3)
    rng = np.random.default_rng(3)
    draws = [np.bincount(rng.integers(40, size=40), minlength=40) for _ in range(50)]
    expected = [ours.average_precision(times) - theirs.average_precision(times) for times in draws]
    assert [found.low, found.high] == pytest.approx(np.percentile(expected, [5, 95]).tolist(), abs=1e-12)


def test_pairing_narrows_the_interval_and_a_network_equals_itself() -> None:
    ours = population(60, seed=4)
    theirs = worse(ours, 0.05, seed=5)
    paired = ap_difference(ours, theirs, resamples=200)
    alone = [ap_interval(matches, resamples=200) for matches in (ours, theirs)]
    assert paired.high - paired.low < min(each.high - each.low for each in alone)
    same = ap_difference(ours, ours, resamples=10)
    assert (same.low, same.high) == (0, 0)


def test_other_images_are_no_pair() -> None:
    with pytest.raises(InputError, match="theirs is 'of 9 images'; it must be of the same 8 images"):
        ap_difference(population(8, seed=0), population(9, seed=0))
    with pytest.raises(InputError, match="resamples"):
        ap_difference(population(8, seed=0), population(8, seed=0), resamples=0)
