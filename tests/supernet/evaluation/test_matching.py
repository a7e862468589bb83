"""Precision and recall of matches: equal to pycocotools' accumulation, of images that count any number of times."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.evaluation.matching import SIZES, OksMatching

RandomPeople = Callable[..., Any]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_precision_and_recall_equal_those_of_pycocotools(
    random_people: RandomPeople, skeleton: Skeleton, seed: int
) -> None:
    matching = OksMatching(random_people(skeleton, seed).compare(), tuple(SIZES))
    matching.accumulate()
    precision, recall = matching.eval["precision"][:, :, 0, :, 0], matching.eval["recall"][:, 0, :, 0]
    for size in range(1 + len(SIZES)):
        matches = matching.matches(size)
        if not matches.labelled.any():
            assert (precision[..., size] == -1).all()
            continue
        found_precision, found_recall = matches.precision_recall()
        np.testing.assert_allclose(found_precision, precision[..., size], atol=1e-12)
        np.testing.assert_allclose(found_recall, recall[..., size], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_an_image_counts_as_often_as_its_copies_would(
    random_people: RandomPeople, skeleton: Skeleton, seed: int
) -> None:
    times = np.random.default_rng(seed).integers(0, 4, 12)
    once = random_people(skeleton, seed, equal_scores=False).compare()
    copied = random_people(skeleton, seed, times=times.tolist(), equal_scores=False).compare()
    pairs = once.matches.precision_recall(times), copied.matches.precision_recall()
    for found, expected in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_pairs_are_the_correct_matches_at_the_lowest_threshold(random_people: RandomPeople) -> None:
    comparison = random_people(SKELETONS["coco"], 2).compare()
    found, people = comparison.matches.pairs
    assert len(found) == comparison.matches.correct[0].sum() > 0
    assert len(set(found.tolist())) == len(set(people.tolist())) == len(found)
    truth = comparison.truth
    assert (truth.image_ids[truth.images[people]] == comparison.results.image_ids[found]).all()
    assert not comparison.ignored[people].any()
    labelled = truth.keypoints[people, :, 2] > 0
    oks = (comparison.similarity(found, people) * labelled).sum(axis=1) / labelled.sum(axis=1)
    assert (oks >= 0.5).all()
