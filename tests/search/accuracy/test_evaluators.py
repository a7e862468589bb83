"""Evaluators: nothing is measured twice, and nothing that is no accuracy is kept."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator, identity_digest
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.json_lines import read_json_lines

SPACE = SearchSpace.preset("tiny")


class CountingMeasure:
    """Measures by a formula and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Arch] = []

    def __call__(self, arch: Arch) -> float:
        self.asked.append(arch)
        return arch.image_size / 1000


def archs(n: int) -> list[Arch]:
    rng = random.Random(0)
    return [SPACE.sample(rng) for _ in range(n)]


def test_nothing_is_measured_twice(tmp_path: Path, identity: dict[str, Any]) -> None:
    path, measure = tmp_path / "a.jsonl", CountingMeasure()
    first = SupernetEvaluator(measure, identity=identity, cache=AccuracyCache(path)).evaluate(archs(5) + archs(5))
    again = SupernetEvaluator(measure, identity=identity, cache=AccuracyCache(path)).evaluate(archs(7))
    assert [accuracy.ap for accuracy in again] == [arch.image_size / 1000 for arch in archs(7)]
    assert first == again[:5] * 2
    assert measure.asked == archs(7)
    assert {accuracy.source for accuracy in again} == {"supernet"}


def test_another_supernet_is_measured_anew(tmp_path: Path, identity: dict[str, Any]) -> None:
    path, measure = tmp_path / "a.jsonl", CountingMeasure()
    for weights in ("abc", "def", "abc"):
        cache = AccuracyCache(path)
        SupernetEvaluator(measure, identity=identity | {"weights": weights}, cache=cache).evaluate(archs(2))
    assert len(measure.asked) == 4


def test_a_kill_loses_at_most_the_measurement_at_work(tmp_path: Path, identity: dict[str, Any]) -> None:
    path, measure = tmp_path / "a.jsonl", CountingMeasure()

    def killed(arch: Arch) -> float:
        if len(measure.asked) == 3:
            raise KeyboardInterrupt
        return measure(arch)

    with pytest.raises(KeyboardInterrupt):
        SupernetEvaluator(killed, identity=identity, cache=AccuracyCache(path)).evaluate(archs(6))
    path.write_bytes(path.read_bytes()[:-3])
    SupernetEvaluator(measure, identity=identity, cache=AccuracyCache(path)).evaluate(archs(6))
    assert measure.asked == archs(3) + archs(6)[2:]
    assert len(read_json_lines(path)) == 6


@pytest.mark.parametrize("ap", [math.nan, math.inf, -0.1, 54.0])
def test_what_is_no_accuracy_is_refused_and_not_kept(tmp_path: Path, identity: dict[str, Any], ap: float) -> None:
    cache = AccuracyCache(tmp_path / "a.jsonl")
    evaluator = SupernetEvaluator(lambda arch: ap, identity=identity, cache=cache)
    with pytest.raises(InputError, match=f"architecture {SPACE.smallest().digest} has the AP"):
        evaluator.evaluate([SPACE.smallest()])
    assert len(cache) == len(AccuracyCache(cache.path)) == 0


def test_records_can_be_read_by_others(tmp_path: Path, identity: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    AccuracyCache(path).put(SPACE.largest(), identity, 0.5)
    (record,) = read_json_lines(path)
    assert Arch.from_dict(record["arch"]) == SPACE.largest()
    assert record["measured_on"] == {**identity, "std": list(identity["std"])}


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n')
    with pytest.raises(InputError, match="line 1: arch_digest is missing"):
        AccuracyCache(path)


def test_identity_is_the_content_not_the_order() -> None:
    assert identity_digest({"a": 1, "b": (2, 3)}) == identity_digest({"b": [2, 3], "a": 1})
    assert identity_digest({"a": 1}) != identity_digest({"a": 2})


def test_the_predictor_says_what_it_stands_for(predictor: AccuracyPredictor) -> None:
    (accuracy,) = predictor.evaluate([SPACE.largest()])
    assert accuracy.source == "predictor"
    assert accuracy.std > 0
    assert predictor.describe() == {"evaluator": "predictor", "predictor": predictor.digest, **predictor.identity}
    with pytest.raises(InputError, match="allows"):
        predictor.evaluate([SearchSpace.preset("litepose").smallest()])
