"""The files of a search: numbers as computed, what was measured; read back, and refused if damaged."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.accuracy.evaluators import Source
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.generations import Progress
from litepose_ofa.search.study.results import (
    CHOSEN_FILE,
    Candidate,
    SearchOutcome,
    front_candidates,
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
    rows = problem.views(history)[problem.devices.index(device)].front
    measured = None if source == "published-surrogate" else 0.9 * history.ap[rows]
    return front_candidates(problem, history.rows(rows), source, measured, device=device)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def candidates(problem: SearchProblem) -> list[Candidate]:
    return front_of(problem, 200)


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


def test_files(candidates: list[Candidate], tmp_path: Path) -> None:
    candidates[0] = replace(candidates[0], verified_ap=0.25)
    candidates[1] = replace(candidates[1], verified_ap=None)
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
def found(problem: SearchProblem) -> list[Candidate]:
    return front_of(problem, 100)


@pytest.fixture
def record(problem: SearchProblem) -> dict[str, Any]:
    search = {"space": problem.cost.space.to_dict(), "evaluator": {"weights": "abc"}}
    return {"budget_ms": problem.budgets_ms["board"], "search": search}


@pytest.fixture
def folder(found: list[Candidate], record: dict[str, Any], tmp_path: Path) -> Path:
    write_front(tmp_path / "m" / "front.csv", found)
    write_chosen(tmp_path / "m" / "chosen.json", found[0], record)
    return tmp_path / "m"


def test_the_greater_ap_comes_first(folder: Path, found: list[Candidate]) -> None:
    outcome = SearchOutcome.load(folder)
    best = outcome.best(5)
    assert outcome.arch == best[0]
    assert best == [candidate.arch for candidate in found[:5]]
    assert outcome.best(1000) == [candidate.arch for candidate in found]


def test_what_exceeds_the_budget_is_left_out(folder: Path, found: list[Candidate], record: dict[str, Any]) -> None:
    budget_ms = found[5].latency_ms
    write_chosen(folder / "chosen.json", found[6], {**record, "budget_ms": budget_ms})
    within = [candidate.arch for candidate in found if candidate.latency_ms <= budget_ms]
    assert set(SearchOutcome.load(folder).best(1000)) == set(within)
    write_chosen(folder / "chosen.json", found[6], {**record, "budget_ms": 0.1})
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
def test_a_damaged_front_is_named(folder: Path, found: list[Candidate], damage: str) -> None:
    text = (folder / "front.csv").read_text()
    best = found[1]
    genome = "-".join(map(str, best.genome.tolist()))
    changed = {
        "digest": text.replace(best.arch.digest, "0" * 12),
        "genome": text.replace(genome, genome[:-2]),
        "number": text.replace(f",{best.latency_ms},", ",fast,"),
        "column": text.replace("arch_digest", "digest"),
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
