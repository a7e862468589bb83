"""A search read back from the files it wrote: the choice first, verified before predicted, nothing over the budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.search.accuracy.evaluators import Accuracy
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.outcome import SearchOutcome
from litepose_ofa.search.study.results import (
    CHOSEN_FILE,
    Candidate,
    choose,
    front_candidates,
    write_chosen,
    write_front,
)
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, write_json


@pytest.fixture
def candidates(problem: SearchProblem) -> list[Candidate]:
    genomes = problem.cost.codec.sample(100, np.random.default_rng(0))
    latency_ms = problem.latency_ms(genomes)
    found = front_candidates(problem, problem.evaluated(genomes, 0.01 * latency_ms, np.full(100, 0.02)), "predictor")
    for index, ap in ((1, 0.3), (4, 0.5), (6, 0.4)):
        found[index] = replace(found[index], verified=Accuracy(ap, "supernet"))
    return found


@pytest.fixture
def record(problem: SearchProblem) -> dict[str, Any]:
    search = {"space": problem.cost.space.to_dict(), "evaluator": {"weights": "abc"}}
    return {"budget_ms": problem.budget_ms, "search": search}


@pytest.fixture
def folder(candidates: list[Candidate], record: dict[str, Any], tmp_path: Path) -> Path:
    write_front(tmp_path / "m" / "front.csv", candidates)
    write_chosen(tmp_path / "m" / "chosen.json", choose(candidates), record)
    return tmp_path / "m"


def test_the_choice_comes_first_then_verified_then_predicted(folder: Path, candidates: list[Candidate]) -> None:
    outcome = SearchOutcome.load(folder)
    best = outcome.best(5)
    assert outcome.arch == best[0] == candidates[4].arch
    assert best == [candidates[index].arch for index in (4, 6, 1, 0, 2)]
    assert outcome.best(1000) == best + [candidates[index].arch for index in (3, 5, *range(7, len(candidates)))]


def test_what_exceeds_the_budget_is_left_out(folder: Path, candidates: list[Candidate], record: dict[str, Any]) -> None:
    budget_ms = candidates[5].latency_ms
    write_chosen(folder / "chosen.json", candidates[6], {**record, "budget_ms": budget_ms})
    within = [candidate.arch for candidate in candidates if candidate.latency_ms <= budget_ms]
    assert set(SearchOutcome.load(folder).best(1000)) == set(within)
    write_chosen(folder / "chosen.json", candidates[6], {**record, "budget_ms": 0.1})
    with pytest.raises(InputError, match="the number of architectures within the budget is 0"):
        SearchOutcome.load(folder).best(3)


def test_a_search_of_another_supernet_is_refused(folder: Path) -> None:
    outcome = SearchOutcome.load(folder)
    outcome.require_weights("abc")
    with pytest.raises(InputError, match="was searched on other weights than the workspace's supernet has"):
        outcome.require_weights("def")


def test_a_search_by_a_surrogate_has_no_supernet_to_cut_from(folder: Path) -> None:
    outcome = SearchOutcome.load(folder)
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
def test_a_damaged_front_is_named(folder: Path, candidates: list[Candidate], damage: str) -> None:
    text = (folder / "front.csv").read_text()
    best = candidates[4]
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


def test_a_front_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "front.csv").write_bytes(b"arch_digest\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"front\.csv: is "):
        SearchOutcome.load(folder).best(2)


def test_a_choice_without_an_architecture_is_refused(folder: Path) -> None:
    (folder / CHOSEN_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"chosen\.json: arch is missing$"):
        SearchOutcome.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"search": None},
            "search is null; it must be a mapping with the keys space, evaluator, num_keypoints, devices",
        ),
        ({"search": {"evaluator": {}}}, "search.space is missing"),
        ({"search": {"evaluator": [], "space": {}}}, "search.evaluator is []; it must be a mapping"),
        ({"budget_ms": "5"}, "budget_ms is '5'; it must be a number of at least 0"),
        ({"ap": 1.5}, "ap is 1.5; it must be a number from 0 to 1, or null"),
        ({"latency_ms": -1}, "latency_ms is -1; it must be a number of at least 0, or null"),
        ({"macs": 1.5}, "macs is 1.5; it must be an integer of at least 0, or null"),
        ({"arch": {}}, "architecture lacks the key 'img_size'"),
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


def test_a_choice_that_is_a_list_is_refused(folder: Path) -> None:
    (folder / CHOSEN_FILE).write_text("[{}]")
    with pytest.raises(InputError, match=r"chosen\.json: it is \[{}\]; it must be a mapping"):
        SearchOutcome.load(folder)
