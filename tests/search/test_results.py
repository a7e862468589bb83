"""The front and the chosen subnet: numbers as computed, the verified best, ties by rule."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from search.evaluators import Accuracy, AccuracyCache, SupernetEvaluator
from search.problem import History, SearchProblem
from search.results import (
    FRONT_COLUMNS,
    Candidate,
    choose,
    front_candidates,
    sampled_candidates,
    verify,
    write_chosen,
    write_front,
)
from search.sampling import AccuracySamples
from supernet.arch import Arch
from supernet.complexity import measure_complexity
from supernet.files import read_json


@pytest.fixture
def candidates(problem: SearchProblem) -> list[Candidate]:
    genomes = problem.cost.codec.sample(200, np.random.default_rng(0))
    latency_ms = problem.latency_ms(genomes)
    history = History(genomes, 0.3 + 0.01 * latency_ms, np.full(200, 0.02), latency_ms)
    return front_candidates(problem, history, "predictor")


def test_front_has_every_number_of_its_architectures(problem: SearchProblem, candidates: list[Candidate]) -> None:
    assert len(candidates) > 20
    assert [c.accuracy.ap for c in candidates] == sorted((c.accuracy.ap for c in candidates), reverse=True)
    for candidate in candidates:
        complexity = measure_complexity(candidate.arch)
        estimate = problem.cost.tables["board"].estimate(candidate.arch)
        assert (candidate.macs, candidate.params) == (complexity.macs, complexity.params)
        assert candidate.latency_ms <= problem.budget_ms
        numbers = (candidate.latency_ms, candidate.latency_low_ms, candidate.latency_high_ms)
        assert numbers == pytest.approx((estimate.ms, estimate.low_ms, estimate.high_ms), rel=1e-9)
        assert candidate.latency_provenance == estimate.provenance
        assert problem.cost.codec.decode(candidate.genome) == candidate.arch


def test_the_best_verified_is_chosen(candidates: list[Candidate], tmp_path: Path) -> None:
    truth = {candidates[0].arch: 0.5, candidates[1].arch: 0.7, candidates[2].arch: 0.6}

    def measure(arch: Arch) -> float:
        return truth[arch]

    evaluator = SupernetEvaluator(measure, identity={}, cache=AccuracyCache(tmp_path / "a.jsonl"))
    candidates[:3] = verify(candidates[:3], evaluator)
    assert choose(candidates) is candidates[1]
    assert candidates[1].verified == Accuracy(0.7, "supernet")
    assert candidates[3].verified is None


def test_the_measured_samples_within_the_budget_are_candidates(problem: SearchProblem) -> None:
    genomes = problem.cost.codec.sample(40, np.random.default_rng(1))
    archs = problem.cost.codec.decode_many(genomes)
    ap = np.array([arch.image_size / 1000 for arch in archs])
    samples = AccuracySamples(problem.cost.space, 14, {}, genomes, ap)

    def predict(archs: list[Arch]) -> list[Accuracy]:
        return [Accuracy(0.5, "predictor", 0.1) for _ in archs]

    found = sampled_candidates(problem, samples, SimpleNamespace(evaluate=predict, source="predictor"))
    latency_ms = problem.latency_ms(genomes)
    assert [c.arch for c in found] == [
        arch for arch, ms in zip(archs, latency_ms, strict=True) if ms <= problem.budget_ms
    ]
    assert 0 < len(found) < len(archs)
    assert all(c.verified == Accuracy(c.arch.image_size / 1000, "supernet") for c in found)
    assert all(c.accuracy == Accuracy(0.5, "predictor", 0.1) for c in found)


def test_without_verification_the_best_prediction_is_chosen(candidates: list[Candidate]) -> None:
    assert choose(candidates) is candidates[0]


def test_of_equal_accuracy_the_faster_then_the_smaller_wins(candidates: list[Candidate]) -> None:
    base = candidates[0]
    slow, fast = replace(base, latency_ms=9.0), replace(base, latency_ms=8.0)
    small = replace(fast, params=base.params - 1)
    assert choose([slow, fast]) is fast
    assert choose([fast, small]) is choose([small, fast]) is small


def test_files(candidates: list[Candidate], tmp_path: Path) -> None:
    candidates[0] = replace(candidates[0], verified=Accuracy(0.25, "supernet"))
    write_front(tmp_path / "front.csv", candidates)
    with (tmp_path / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FRONT_COLUMNS
    assert [row["arch_digest"] for row in rows] == [candidate.arch.digest for candidate in candidates]
    assert [float(row["latency_ms"]) for row in rows] == [candidate.latency_ms for candidate in candidates]
    assert (rows[0]["verified_ap"], rows[1]["verified_ap"]) == ("0.25", "")
    assert [int(gene) for gene in rows[0]["genome"].split("-")] == candidates[0].genome.tolist()
    write_chosen(tmp_path / "chosen.json", candidates[0], {"tier": "m"})
    chosen = read_json(tmp_path / "chosen.json")
    assert Arch.from_dict(chosen["arch"]) == candidates[0].arch
    assert (chosen["tier"], chosen["verified_ap"], chosen["macs"]) == ("m", 0.25, candidates[0].macs)
