"""The files of a search: numbers as computed, the verified best, ties by rule; read back, and refused if damaged."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.accuracy.evaluators import Accuracy, Source
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.generations import Progress
from litepose_ofa.search.study.results import (
    CHOSEN_FILE,
    Candidate,
    SearchOutcome,
    choose,
    front_candidates,
    sampled_candidates,
    write_chosen,
    write_front,
    write_progress,
)
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, write_json


def front_of(problem: SearchProblem, n: int, source: Source = "predictor", device: str = "board") -> list[Candidate]:
    """The front of n genomes whose AP grows with their latency on the first device."""
    genomes = problem.cost.codec.sample(n, np.random.default_rng(0))
    ap = 0.01 * problem.latency_ms(genomes, problem.devices[0])
    history = problem.evaluated(genomes, ap, np.full(n, 0.02))
    return front_candidates(problem, history.rows(problem.front(history, device)), source, device=device)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def candidates(problem: SearchProblem) -> list[Candidate]:
    return front_of(problem, 200)


@pytest.fixture
def predictor_of_half() -> Any:
    """An evaluator to which every AP is 0.5."""
    answer = Accuracy(0.5, "predictor", 0.1)
    return SimpleNamespace(evaluate=lambda archs: [answer for _ in archs], source="predictor")


def test_front_has_every_number_of_its_architectures(problem: SearchProblem, candidates: list[Candidate]) -> None:
    assert len(candidates) > 20
    assert [c.accuracy.ap for c in candidates] == sorted((c.accuracy.ap for c in candidates), reverse=True)
    for candidate in candidates:
        complexity = measure_complexity(candidate.arch)
        estimate = problem.cost.tables["board"].estimate(candidate.arch)
        assert (candidate.macs, candidate.params) == (complexity.macs, complexity.params)
        assert candidate.peak_memory_bytes == complexity.peak_activation_bytes
        assert candidate.latency_ms <= problem.budgets_ms["board"]
        numbers = (candidate.latency_ms, candidate.latency_low_ms, candidate.latency_high_ms)
        assert numbers == pytest.approx((estimate.ms, estimate.low_ms, estimate.high_ms), rel=1e-9)
        assert (candidate.latency_provenance, candidate.decoding_provenance) == (estimate.provenance, "")
        assert problem.cost.codec.decode(candidate.genome) == candidate.arch


def test_the_best_verified_is_chosen(candidates: list[Candidate]) -> None:
    assert choose(candidates) is candidates[0], "the best prediction, while none is verified"
    for index, ap in enumerate((0.5, 0.7, 0.6)):
        candidates[index] = replace(candidates[index], verified=Accuracy(ap, "supernet"))
    assert choose(candidates) is candidates[1]


def test_the_measured_samples_within_the_budget_are_candidates(problem: SearchProblem, predictor_of_half: Any) -> None:
    genomes = problem.cost.codec.sample(40, np.random.default_rng(1))
    archs = problem.cost.codec.decode_many(genomes)
    ap = np.array([arch.image_size / 1000 for arch in archs])
    samples = AccuracySamples(problem.cost.space, 14, {}, genomes, ap)
    found = sampled_candidates(problem, samples, predictor_of_half, device="board")
    within = problem.latency_ms(genomes) <= problem.budgets_ms["board"]
    assert [c.arch for c in found] == [archs[row] for row in np.flatnonzero(within)]
    assert 0 < len(found) < len(archs)
    assert all(c.verified == Accuracy(c.arch.image_size / 1000, "supernet") for c in found)
    assert all(c.accuracy == Accuracy(0.5, "predictor", 0.1) for c in found)
    measured = sampled_candidates(problem, samples, SimpleNamespace(source="supernet"), device="board")
    assert [c.accuracy for c in measured] == [c.verified for c in found], "none is measured again"


def test_of_equal_accuracy_the_faster_then_the_smaller_wins(candidates: list[Candidate]) -> None:
    base = candidates[0]
    slow, fast = replace(base, latency_ms=9.0), replace(base, latency_ms=8.0)
    small = replace(fast, params=base.params - 1)
    assert choose([slow, fast]) is fast
    assert choose([fast, small]) is choose([small, fast]) is small


def test_files(candidates: list[Candidate], tmp_path: Path) -> None:
    candidates[0] = replace(candidates[0], verified=Accuracy(0.25, "supernet"))
    write_front(tmp_path / "front.csv", candidates)
    rows = read_csv(tmp_path / "front.csv")
    assert list(rows[0]) == [
        "arch_digest", "ap", "ap_source", "ap_std", "verified_ap", "latency_ms", "latency_low_ms", "latency_high_ms",
        "latency_provenance", "latency_table", "decoding_provenance", "decoding_cost", "macs", "macs_as_published",
        "params", "peak_memory_bytes", "image_size", "genome",
    ]  # fmt: skip
    assert [row["arch_digest"] for row in rows] == [candidate.arch.digest for candidate in candidates]
    assert [float(row["latency_ms"]) for row in rows] == [candidate.latency_ms for candidate in candidates]
    assert (rows[0]["verified_ap"], rows[1]["verified_ap"]) == ("0.25", "")
    assert [int(gene) for gene in rows[0]["genome"].split("-")] == candidates[0].genome.tolist()
    write_chosen(tmp_path / "chosen.json", candidates[0], {"tier": "m"})
    chosen = read_json(tmp_path / "chosen.json")
    assert Arch.from_dict(chosen["arch"]) == candidates[0].arch
    assert (chosen["tier"], chosen["verified_ap"], chosen["macs"]) == ("m", 0.25, candidates[0].macs)


@pytest.fixture
def two_devices(problem: SearchProblem, make_table: Callable[..., LatencyTable]) -> SearchProblem:
    tables = {**problem.cost.tables, "phone": make_table(problem.cost.space, ms_per_mac=3e-7)}
    cost = CostModel(problem.cost.space, tables=tables)
    return SearchProblem(cost, {"board": problem.budgets_ms["board"], "phone": cost.slowest("phone")[1]})


def test_a_front_of_several_devices_has_every_latency(two_devices: SearchProblem, tmp_path: Path) -> None:
    found = front_of(two_devices, 100, device="phone")
    write_front(tmp_path / "front.csv", found)
    rows = read_csv(tmp_path / "front.csv")
    assert list(rows[0])[-2:] == ["genome", "latency_ms/board"]
    for row, candidate in zip(rows, found, strict=True):
        genome = candidate.genome[None]
        assert float(row["latency_ms"]) == two_devices.latency_ms(genome, "phone")[0]
        assert float(row["latency_ms/board"]) == two_devices.latency_ms(genome, "board")[0]
    assert max(float(row["latency_ms/board"]) for row in rows) > two_devices.budgets_ms["board"]


def test_shared_samples_keep_every_budget(two_devices: SearchProblem, predictor_of_half: Any) -> None:
    shared = replace(two_devices, goal="shared")
    genomes = shared.cost.codec.sample(60, np.random.default_rng(1))
    samples = AccuracySamples(shared.cost.space, 14, {}, genomes, np.full(60, 0.4))
    within = int((shared.latency_ms(genomes, "board") <= shared.budgets_ms["board"]).sum())
    counts = {
        (each.goal, device): len(sampled_candidates(each, samples, predictor_of_half, device=device))
        for each in (two_devices, shared)
        for device in each.devices
    }
    assert counts == {
        ("front", "board"): within,
        ("front", "phone"): 60,
        ("shared", "board"): within,
        ("shared", "phone"): within,
    }


def test_an_assumed_decoding_cost_is_named(problem: SearchProblem) -> None:
    decoding = {"board": DecodingCost.load("host_cpu")}
    cost = CostModel(problem.cost.space, tables=problem.cost.tables, decoding=decoding)
    frames = SearchProblem(cost, {"board": cost.slowest("board")[1]})
    candidates = front_of(frames, 20, "published-surrogate")
    assert {(c.accuracy.source, c.decoding_provenance) for c in candidates} == {("published-surrogate", "assumed")}


def test_progress_says_whose_accuracies_it_counts(tmp_path: Path) -> None:
    write_progress(tmp_path / "progress.csv", [Progress(0, 64, 0.25), Progress(1, 128, 0.5)], "published-surrogate")
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert lines[0] == "generation,evaluations,hypervolume,ap_source"
    assert lines[2] == "1,128,0.5,published-surrogate"


@pytest.fixture
def verified(problem: SearchProblem) -> list[Candidate]:
    found = front_of(problem, 100)
    for index, ap in ((1, 0.3), (4, 0.5), (6, 0.4)):
        found[index] = replace(found[index], verified=Accuracy(ap, "supernet"))
    return found


@pytest.fixture
def record(problem: SearchProblem) -> dict[str, Any]:
    search = {"space": problem.cost.space.to_dict(), "evaluator": {"weights": "abc"}}
    return {"budget_ms": problem.budgets_ms["board"], "search": search}


@pytest.fixture
def folder(verified: list[Candidate], record: dict[str, Any], tmp_path: Path) -> Path:
    write_front(tmp_path / "m" / "front.csv", verified)
    write_chosen(tmp_path / "m" / "chosen.json", choose(verified), record)
    return tmp_path / "m"


def test_the_choice_comes_first_then_verified_then_predicted(folder: Path, verified: list[Candidate]) -> None:
    outcome = SearchOutcome.load(folder)
    best = outcome.best(5)
    assert outcome.arch == best[0] == verified[4].arch
    assert best == [verified[index].arch for index in (4, 6, 1, 0, 2)]
    assert outcome.best(1000) == best + [verified[index].arch for index in (3, 5, *range(7, len(verified)))]


def test_what_exceeds_the_budget_is_left_out(folder: Path, verified: list[Candidate], record: dict[str, Any]) -> None:
    budget_ms = verified[5].latency_ms
    write_chosen(folder / "chosen.json", verified[6], {**record, "budget_ms": budget_ms})
    within = [candidate.arch for candidate in verified if candidate.latency_ms <= budget_ms]
    assert set(SearchOutcome.load(folder).best(1000)) == set(within)
    write_chosen(folder / "chosen.json", verified[6], {**record, "budget_ms": 0.1})
    with pytest.raises(InputError, match="the number of architectures within the budget is 0"):
        SearchOutcome.load(folder).best(3)


def test_a_search_of_another_supernet_or_of_none_is_refused(folder: Path) -> None:
    outcome = SearchOutcome.load(folder)
    outcome.require_weights("abc")
    with pytest.raises(InputError, match="was searched on other weights than the workspace's supernet has"):
        outcome.require_weights("def")
    surrogate = replace(outcome, record={**outcome.record, "search": {"evaluator": {"predictor": "abc"}}})
    with pytest.raises(InputError, match=r"chosen\.json: was searched by a surrogate, on no supernet's weights"):
        surrogate.require_weights("abc")


def test_without_a_search_the_message_says_what_to_run(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"xl.chosen\.json: no such file; search first .*tier=xl"):
        SearchOutcome.load(tmp_path / "xl")
    (folder / "front.csv").unlink()
    with pytest.raises(InputError, match=r"front\.csv: no such file; the same litepose search writes it"):
        SearchOutcome.load(folder).best(2)


@pytest.mark.parametrize("damage", ["digest", "genome", "number", "column"])
def test_a_damaged_front_is_named(folder: Path, verified: list[Candidate], damage: str) -> None:
    text = (folder / "front.csv").read_text()
    best = verified[4]
    genome = "-".join(map(str, best.genome.tolist()))
    changed = {
        "digest": text.replace(best.arch.digest, "0" * 12),
        "genome": text.replace(genome, genome[:-2]),
        "number": text.replace(f",{best.latency_ms},", ",fast,"),
        "column": text.replace("verified_ap", "verified"),
    }[damage]
    assert changed != text
    (folder / "front.csv").write_text(changed)
    with pytest.raises(InputError, match=r"front\.csv: is "):
        SearchOutcome.load(folder).best(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": {"evaluator": {}}}, "search.space is missing"),
        ({"search": {"evaluator": [], "space": {}}}, "search.evaluator is []; it must be a mapping"),
        ({"budget_ms": "5"}, "budget_ms is '5'; it must be a number of at least 0"),
        ({"ap": 1.5}, "ap is 1.5; it must be a number from 0 to 1, or null"),
        ({"arch": {}}, "architecture: img_size is missing"),
    ],
)
def test_what_a_choice_says_is_checked_below_its_first_level(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    path = folder / CHOSEN_FILE
    write_json(path, {**read_json(path), **change})
    with pytest.raises(InputError) as caught:
        SearchOutcome.load(folder)
    assert str(caught.value).startswith(f"{path}: {message}")
