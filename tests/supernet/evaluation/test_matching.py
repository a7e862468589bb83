"""Precision and recall of matches: equal to pycocotools' accumulation, of images that count any number of times."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.evaluation import compare_people
from litepose_ofa.supernet.evaluation.matching import SIZES, OksMatching, PeopleComparison
from litepose_ofa.supernet.files import write_json

Json = dict[str, Any]
Compare = Callable[..., PeopleComparison]


@pytest.fixture
def compare(
    tmp_path: Path,
    make_dataset: Callable[..., Json],
    noisy_predictions: Callable[..., list[Json]],
    repeat_images: Callable[..., Any],
) -> Compare:
    def build(
        skeleton: Skeleton, seed: int, times: list[int] | None = None, *, equal_scores: bool = True
    ) -> PeopleComparison:
        """Compare random people; with ``times``, of a dataset that has each image so many times."""
        dataset = make_dataset(skeleton, seed=seed)
        predictions = noisy_predictions(dataset, seed + 10, equal_scores=equal_scores)
        if times is not None:
            dataset, predictions = repeat_images(dataset, predictions, times)
        write_json(tmp_path / "people.json", dataset)
        return compare_people(tmp_path / "people.json", predictions, skeleton)

    return build


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_precision_and_recall_equal_those_of_pycocotools(compare: Compare, skeleton: Skeleton, seed: int) -> None:
    matching = OksMatching(compare(skeleton, seed), tuple(SIZES))
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
def test_an_image_counts_as_often_as_its_copies_would(compare: Compare, skeleton: Skeleton, seed: int) -> None:
    times = np.random.default_rng(seed).integers(0, 4, 12)
    weighted = compare(skeleton, seed, equal_scores=False).matches.precision_recall(times)
    copied = compare(skeleton, seed, times.tolist(), equal_scores=False).matches.precision_recall()
    for found, expected in zip(weighted, copied, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_pairs_are_the_correct_matches_at_the_lowest_threshold(compare: Compare) -> None:
    comparison = compare(SKELETONS["coco"], 2)
    found, people = comparison.matches.pairs
    assert len(found) == comparison.matches.correct[0].sum() > 0
    assert len(set(found.tolist())) == len(set(people.tolist())) == len(found)
    truth = comparison.truth
    assert (truth.image_ids[truth.images[people]] == comparison.results.image_ids[found]).all()
    assert not comparison.ignored[people].any()
    labelled = truth.keypoints[people, :, 2] > 0
    oks = (comparison.similarity(found, people) * labelled).sum(axis=1) / labelled.sum(axis=1)
    assert (oks >= 0.5).all()
