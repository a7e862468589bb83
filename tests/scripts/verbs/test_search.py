"""Searches by the published figures and of a trained supernet: their files, going on, and what they refuse."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.search.accuracy.evaluators import Accuracy, AccuracyCache, AccuracyModel
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.files import read_json

SMALL = (
    "search.first=8",
    "search.batch=8",
    "search.generations=1",
    "search.evolution.population=30",
    "search.evolution.generations=5",
)
CELL = ("device=jetson_nano", "tier=l")
OUTPUTS = ("chosen.json", "front.csv", "progress.csv", "run.json")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, start_script: Any) -> Path:
    """A workspace with one search."""
    folder = tmp_path_factory.mktemp("workspace")
    start_script("search", f"workspace={folder}", "evaluator=published", *CELL, *SMALL)
    return folder


@pytest.fixture
def searched(workspace: Path) -> Path:
    """The folder of the workspace's search."""
    return workspace / "search" / "jetson_nano" / "l"


@pytest.fixture
def search_again(run_script: Any, workspace: Path) -> Any:
    """Search the workspace's cell again; later overrides win."""
    given = (f"workspace={workspace}", "evaluator=published", *CELL, *SMALL)
    return lambda *overrides: run_script("search", *given, *overrides)


@pytest.fixture
def search(run_script: Any, tmp_path: Path) -> Any:
    """Search in a workspace of the test's own, by the published figures."""
    given = (f"workspace={tmp_path}", "evaluator=published", *SMALL)
    return lambda *overrides: run_script("search", *given, *overrides)


@pytest.fixture
def chosen(search: Any, tmp_path: Path) -> Any:
    """Search in a workspace of the test's own; return the choice of every device."""

    def found(devices: str, tier: str, *overrides: str) -> Any:
        assert search(f"devices=[{devices}]", f"tier={tier}", *overrides).status == 0
        goal = "-shared" if "goal=shared" in overrides else ""
        folders = [tmp_path / "search" / device / f"{tier}{goal}" for device in devices.split(",")]
        return [read_json(folder / "chosen.json") for folder in folders]

    return found


def front_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture
def measure(run_script: Any, trained: Path, quick_evaluation: tuple[str, ...]) -> Any:
    """Search the trained supernet of a workspace of the test's own."""
    given = (f"workspace={trained}", *quick_evaluation, *SMALL)
    return lambda *overrides: run_script("search", *given, *overrides)


def test_one_study_measures_for_all_devices_and_tiers(measure: Any, trained: Path) -> None:
    outcome = measure("devices=[jetson_nano,raspberry_pi_4b]", "tiers=[s,l]")
    printed = outcome.printed.splitlines()
    assert "16 subnets evaluated: the 2 generations that search.generations allows are over" in outcome.printed
    (place,) = (row for row, line in enumerate(printed) if line.startswith("generation 1: 16 of 16 subnets; best AP"))
    best = [line.split() for line in printed[place + 1 : place + 3]]
    assert [(words[0], words[1], words[3], len(words)) for words in best] == [
        (device, "s", "l", 5) for device in ("jetson_nano", "raspberry_pi_4b")
    ]
    for device in ("jetson_nano", "raspberry_pi_4b"):
        chosen = {tier: read_json(trained / "search" / device / tier / "chosen.json") for tier in ("s", "l")}
        assert chosen["s"]["ap"] <= chosen["l"]["ap"]
        for record in chosen.values():
            assert record["latency_ms"] <= record["budget_ms"]
            assert (record["evaluations"], record["ap_source"]) == (16, "predictor")
    study = trained / "search" / "jetson_nano+raspberry_pi_4b" / "s+l"
    assert len((study / "progress.csv").read_text().splitlines()) == 3
    known = AccuracyCache(trained / "accuracies" / "accuracies.jsonl")
    assert len(known) == 16, "each measured once"
    before = {path: path.read_bytes() for path in sorted((trained / "search").rglob("*.*"))}
    shutil.rmtree(study)
    assert measure("devices=[jetson_nano,raspberry_pi_4b]", "tiers=[s,l]").status == 0
    assert {path: path.read_bytes() for path in before if path.parent != study and path.suffix != ".log"}.items() <= (
        before.items()
    )


def test_what_a_predictor_was_fitted_to_is_known_at_no_cost(
    measure: Any, run_script: Any, trained: Path, quick_evaluation: tuple[str, ...]
) -> None:
    assert run_script("sample", f"workspace={trained}", *quick_evaluation, "num_subnets=13").status == 0
    assert run_script("fit", f"workspace={trained}", "predictor=ridge").status == 0
    sampled = {sample["ap"] for sample in read_json(trained / "accuracies" / "samples.json")["samples"]}
    assert measure(*CELL, "search.generations=0").status == 0
    chosen = read_json(trained / "search" / "jetson_nano" / "l" / "chosen.json")
    assert chosen["evaluations"] == 8, "those that the strategy proposed"
    assert len(AccuracyCache(trained / "accuracies" / "accuracies.jsonl")) == 13 + 8
    measured = {float(row["verified_ap"]) for row in front_of(trained / "search" / "jetson_nano" / "l")}
    assert measured & sampled or len(measured) == 1, "samples are in the front"
    told = measure("space=litepose", *CELL).refusal
    assert "the predictor was fitted on space 'tiny', not on this 'litepose'" in told


def test_a_search_leaves_a_chosen_subnet_and_is_done_once(search_again: Any, searched: Path) -> None:
    chosen = read_json(searched / "chosen.json")
    arch = Arch.from_dict(chosen["arch"])
    assert chosen["arch_digest"] == arch.digest
    assert chosen["latency_ms"] <= chosen["budget_ms"]
    assert (chosen["evaluations"], chosen["stopped_by"]) == (16, "generations")
    assert front_of(searched)[0]["arch_digest"] == arch.digest
    before = contents(searched)
    assert "already searched" in search_again().printed
    assert before == contents(searched)


def test_the_full_space_needs_no_training_and_every_line_says_so(search: Any, tmp_path: Path) -> None:
    outcome = search("space=litepose", "device=snapdragon_855", "tier=m")
    assert "published-surrogate AP" in outcome.printed
    folder = tmp_path / "search" / "snapdragon_855" / "m"
    chosen = read_json(folder / "chosen.json")
    assert (chosen["ap_source"], chosen["search"]["evaluator"]["surrogate"]) == ("published-surrogate", "published")
    for name in ("front.csv", "progress.csv"):
        assert all("published-surrogate" in line for line in (folder / name).read_text().splitlines()[1:])
    assert "published-surrogate" in (folder / "study.log").read_text()


def test_one_study_for_several_devices_leaves_a_front_for_each(chosen: Any, tmp_path: Path) -> None:
    for record in chosen("jetson_nano,raspberry_pi_4b", "l"):
        assert (record["goal"], record["evaluations"]) == ("front", 16)
        assert record["latency_ms"] <= record["budget_ms"]
        assert len(front_of(tmp_path / "search" / record["device"] / "l")) > 2
    assert (tmp_path / "search" / "jetson_nano+raspberry_pi_4b" / "l" / "study.log").exists()


def test_a_shared_subnet_is_the_same_everywhere_and_has_its_regrets(chosen: Any) -> None:
    records = chosen("jetson_nano,snapdragon_855", "s", "goal=shared")
    assert records[0]["arch"] == records[1]["arch"]
    assert records[0]["regrets"] == records[1]["regrets"]
    for record in records:
        assert record["latency_ms"] <= record["budget_ms"]
        regret = record["regrets"][record["device"]]
        assert regret["best_ap"] - regret["regret"] == pytest.approx(record["ap"])
        assert regret["regret"] >= 0


@pytest.mark.parametrize("strategy", ["evolution", "random", "optuna_nsga2", "optuna_tpe"])
def test_every_strategy_can_be_named(chosen: Any, strategy: str) -> None:
    (record,) = chosen("jetson_nano", "l", f"search.strategy={strategy}", "storage=memory")
    assert record["search"]["strategy"]["strategy"] == strategy


def test_budgets_in_frames_in_macs_and_by_device(chosen: Any) -> None:
    (by_frames,) = chosen("jetson_nano", "fast", "fps=500")
    assert by_frames["budget_ms"] == 2.0
    (by_macs,) = chosen("jetson_nano", "macs", "budget_ms=none", "max_macs=15e6", "max_params=60000")
    assert by_macs["macs"] <= 15e6
    assert by_macs["params"] <= 60_000
    by_device = chosen("jetson_nano,raspberry_pi_4b", "mine", "budget_ms={jetson_nano:1.8,raspberry_pi_4b:2.5}")
    assert [record["budget_ms"] for record in by_device] == [1.8, 2.5]


def test_a_frame_budget_counts_the_decoding(search: Any, tmp_path: Path) -> None:
    frame = ("device=jetson_nano", "tier=frame", "device.decoding=host_cpu", "budget_ms=30", "confidence=0.6")
    assert search(*frame).status == 0
    folder = tmp_path / "search" / "jetson_nano" / "frame"
    assert {row["decoding_provenance"] for row in front_of(folder)} == {"assumed"}
    identity = read_json(folder / "chosen.json")["search"]
    assert identity["devices"]["jetson_nano"]["decoding"]["people"] == 5
    assert identity["confidence"] == 0.6


def test_an_earlier_front_warms_a_search(chosen: Any, searched: Path) -> None:
    (record,) = chosen("raspberry_pi_4b", "l", f"warm_start={searched}")
    assert set(record["search"]["warm_start"]) == {row["arch_digest"] for row in front_of(searched)}


def test_a_database_keeps_the_study_and_a_changed_search_is_refused(search: Any, tmp_path: Path) -> None:
    storage = f"storage=sqlite:///{tmp_path}/studies.db"
    assert search(*CELL, storage).status == 0
    assert not (tmp_path / "search" / "jetson_nano" / "l" / "study.log").exists()
    told = search(*CELL, storage, "seed=5").refusal
    assert f"sqlite:///{tmp_path}/studies.db, study 'search/jetson_nano/l/" in told
    assert "seed was 0, is 5" in told


@pytest.mark.parametrize("name", ["chosen.json", "front.csv", "progress.csv"])
def test_what_a_search_has_left_is_whole_or_is_written_again(search_again: Any, searched: Path, name: str) -> None:
    before = contents(searched)
    whole = before[name]
    lines = whole.splitlines(keepends=True)
    for damaged in (None, b"", whole[: len(whole) // 2], whole[:-2], b"".join(lines[:-1])):
        (searched / name).unlink()
        if damaged is not None:
            (searched / name).write_bytes(damaged)
        assert search_again().status == 0
        assert contents(searched) == before


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/studies.db"])
@pytest.mark.parametrize("name", ["moved", "."])
def test_a_search_goes_on_in_a_workspace_that_was_moved(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str | None, name: str
) -> None:
    longer = (*CELL, "search.generations=3")
    assert search(*longer).status == 0
    cell, outputs = Path("search") / "jetson_nano" / "l", ("chosen.json", "front.csv", "progress.csv")
    expected = [(tmp_path / cell / output).read_bytes() for output in outputs]
    place, moved = tmp_path / "place", tmp_path / "moved"
    stored = [f"storage={storage.format(tmp_path)}"] if storage else []
    evaluated: list[int] = []
    evaluate = AccuracyModel.evaluate

    def counted(evaluator: AccuracyModel, archs: Sequence[Arch]) -> list[Accuracy]:
        if place.exists() and len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(len(evaluated))
        return evaluate(evaluator, archs)

    monkeypatch.setattr(AccuracyModel, "evaluate", counted)
    assert search(*longer, *stored, f"workspace={place}").status == 130
    assert evaluated == [0, 1]
    place.rename(moved)
    monkeypatch.chdir(moved)
    assert search(*longer, *stored, f"workspace={moved if name == 'moved' else name}").status == 0
    assert evaluated == [0, 1, 2, 3]
    assert [(moved / cell / output).read_bytes() for output in outputs] == expected


def test_a_search_of_one_cell_leaves_all_in_its_run_folder(search: Any, tmp_path: Path) -> None:
    assert search(*CELL, "run_folder=mine").status == 0
    assert {path.name for path in (tmp_path / "mine").iterdir()} >= {*OUTPUTS, "study.log"}
    assert not (tmp_path / "search").exists()


def test_a_search_ends_when_the_best_stays_the_same(search: Any, tmp_path: Path) -> None:
    outcome = search(*CELL, "search.generations=null", "search.stable_generations=2")
    assert "the best of every tier stayed the same for 2 generations" in outcome.printed
    assert read_json(tmp_path / "search" / "jetson_nano" / "l" / "chosen.json")["stopped_by"] == "stable"


def test_a_search_out_of_time_goes_on(chosen: Any) -> None:
    (record,) = chosen("jetson_nano", "l", "search.seconds=0")
    assert record["stopped_by"] == "seconds"
    (record,) = chosen("jetson_nano", "l")
    assert (record["stopped_by"], record["evaluations"]) == ("generations", 16)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("devices=[jetson_nano,raspberry_pi_4b]", "jetson_nano/l: has a search of its own"),
        ("seed=1", "seed was 0, is 1"),
    ],
)
def test_a_search_is_neither_mixed_nor_written_over(search_again: Any, override: str, told: str) -> None:
    assert told in search_again(override).refusal
