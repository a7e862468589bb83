"""The search scripts on a workspace of synthetic accuracies: files, going on, and what they refuse."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

from litepose_ofa.scripts.verbs import fit as fit_predictor
from litepose_ofa.scripts.verbs import search as run_search
from litepose_ofa.search.accuracy.evaluators import Accuracy, PredictorEvaluator
from litepose_ofa.search.accuracy.sampling import AccuracySamples, stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import read_json

SMALL = [
    "search.first=8",
    "search.batch=8",
    "search.generations=1",
    "search.verify_top=0",
    "search.evolution.population=30",
    "search.evolution.generations=5",
]
CELL = ["device=jetson_nano", "tier=l"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    cost = CostModel(SearchSpace.preset("tiny"))
    genomes = stratified_genomes(cost, 30, np.random.default_rng(0))
    ap = 0.3 + 0.2 * np.tanh(np.log(cost.evaluate(genomes)["macs"] / 8e6)) + 0.01 * genomes[:, 2]
    samples = AccuracySamples(cost.space, 14, {"weights": "w"}, genomes, ap)
    samples.save(folder / "accuracies" / "samples.json")
    return folder


@pytest.fixture(scope="module")
def run(workspace: Path) -> Iterator[Callable[..., None]]:
    with pytest.MonkeyPatch.context() as patch:

        def start(main: Callable[[], None], *overrides: str) -> None:
            patch.setattr(sys, "argv", ["script", f"workspace={workspace}", *overrides])
            try:
                main()
            finally:
                GlobalHydra.instance().clear()

        yield start


@pytest.fixture(scope="module", autouse=True)
def _searched(run: Callable[..., None]) -> None:
    """One device and tier of the workspace is searched before any test."""
    run(fit_predictor.main, "predictor=ridge")
    run(run_search.main, *CELL, *SMALL)


@pytest.fixture
def search(run: Callable[..., None], tmp_path: Path) -> Callable[..., Path]:
    """Search in a workspace of the test's own, by the published figures; return its folder of searches."""

    def start(*overrides: str) -> Path:
        run(run_search.main, f"workspace={tmp_path}", "evaluator=published", *SMALL, *overrides)
        return tmp_path / "search"

    return start


def front_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_from_samples_to_a_chosen_subnet(
    run: Callable[..., None], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace / "search" / "jetson_nano" / "l"
    chosen = read_json(folder / "chosen.json")
    arch = Arch.from_dict(chosen["arch"])
    assert chosen["arch_digest"] == arch.digest
    assert chosen["latency_ms"] <= chosen["budget_ms"]
    assert (chosen["evaluations"], chosen["stopped_by"]) == (16, "generations")
    assert front_of(folder)[0]["arch_digest"] == arch.digest
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".json", ".csv"}}
    assert set(before) == {"chosen.json", "front.csv", "progress.csv", "run.json"}
    run(run_search.main, *CELL, *SMALL)
    assert "already searched" in capsys.readouterr().out
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.name in before}


def test_the_full_space_needs_no_training_and_every_line_says_so(
    search: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search("space=litepose", "device=snapdragon_855", "tier=m") / "snapdragon_855" / "m"
    assert "published-surrogate AP" in capsys.readouterr().out
    chosen = read_json(folder / "chosen.json")
    assert (chosen["ap_source"], chosen["search"]["evaluator"]["surrogate"]) == ("published-surrogate", "published")
    for name in ("front.csv", "progress.csv"):
        assert all("published-surrogate" in line for line in (folder / name).read_text().splitlines()[1:])
    assert "published-surrogate" in (folder / "study.log").read_text()


def test_one_study_for_several_devices_leaves_a_front_for_each(search: Callable[..., Path]) -> None:
    folder = search("devices=[jetson_nano,raspberry_pi_4b]", "tier=l")
    together = folder / "jetson_nano+raspberry_pi_4b" / "l"
    assert (together / "study.log").exists()
    for device in ("jetson_nano", "raspberry_pi_4b"):
        chosen = read_json(folder / device / "l" / "chosen.json")
        assert (chosen["device"], chosen["goal"], chosen["evaluations"]) == (device, "front", 16)
        assert chosen["latency_ms"] <= chosen["budget_ms"]
        assert len(front_of(folder / device / "l")) > 2


def test_a_shared_subnet_is_the_same_everywhere_and_has_its_regrets(search: Callable[..., Path]) -> None:
    folder = search("devices=[jetson_nano,snapdragon_855]", "tier=s", "goal=shared")
    chosen = [read_json(folder / device / "s-shared" / "chosen.json") for device in ("jetson_nano", "snapdragon_855")]
    assert chosen[0]["arch"] == chosen[1]["arch"]
    assert chosen[0]["regrets"] == chosen[1]["regrets"]
    for each in chosen:
        assert each["latency_ms"] <= each["budget_ms"]
        regret = each["regrets"][each["device"]]
        assert regret["best_ap"] - regret["regret"] == pytest.approx(each["ap"])
        assert regret["regret"] >= 0


@pytest.mark.parametrize("strategy", ["evolution", "random", "optuna_nsga2", "optuna_tpe"])
def test_every_strategy_can_be_named(search: Callable[..., Path], strategy: str) -> None:
    folder = search(*CELL, f"search.strategy={strategy}", "storage=memory")
    chosen = read_json(folder / "jetson_nano" / "l" / "chosen.json")
    assert chosen["search"]["strategy"]["strategy"] == strategy


def test_budgets_in_frames_in_macs_and_by_device(search: Callable[..., Path], tmp_path: Path) -> None:
    def chosen(tier: str, *overrides: str) -> dict[str, Any]:
        record = read_json(
            search("device=jetson_nano", f"tier={tier}", *overrides) / "jetson_nano" / tier / "chosen.json"
        )
        assert isinstance(record, dict)
        return record

    assert chosen("fast", "fps=500")["budget_ms"] == 2.0
    by_macs = chosen("macs", "budget_ms=none", "max_macs=15e6", "max_params=60000")
    assert by_macs["macs"] <= 15e6
    assert by_macs["params"] <= 60_000
    by_device = "budget_ms={jetson_nano:1.8,raspberry_pi_4b:2.5}"
    folder = search("devices=[jetson_nano,raspberry_pi_4b]", by_device, "tier=mine")
    budgets = {
        device: read_json(folder / device / "mine" / "chosen.json")["budget_ms"]
        for device in ("jetson_nano", "raspberry_pi_4b")
    }
    assert budgets == {"jetson_nano": 1.8, "raspberry_pi_4b": 2.5}


def test_a_frame_budget_counts_the_decoding(search: Callable[..., Path]) -> None:
    folder = search("device=jetson_nano", "tier=frame", "device.decoding=host_cpu", "budget_ms=30", "confidence=0.6")
    rows = front_of(folder / "jetson_nano" / "frame")
    assert {row["decoding_provenance"] for row in rows} == {"assumed"}
    identity = read_json(folder / "jetson_nano" / "frame" / "chosen.json")["search"]
    assert identity["devices"]["jetson_nano"]["decoding"]["people"] == 5
    assert identity["confidence"] == 0.6


def test_an_earlier_front_warms_a_search(search: Callable[..., Path], workspace: Path) -> None:
    earlier = workspace / "search" / "jetson_nano" / "l"
    folder = search("device=raspberry_pi_4b", "tier=l", f"warm_start={earlier}")
    warm = read_json(folder / "raspberry_pi_4b" / "l" / "chosen.json")["search"]["warm_start"]
    assert set(warm) == {row["arch_digest"] for row in front_of(earlier)}


def test_a_database_keeps_the_study_and_a_changed_search_is_refused(
    search: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"storage=sqlite:///{tmp_path}/studies.db"
    folder = search(*CELL, storage) / "jetson_nano" / "l"
    assert not (folder / "study.log").exists()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        search(*CELL, storage, "seed=5")
    error = capsys.readouterr().err
    assert f"sqlite:///{tmp_path}/studies.db, study 'search/jetson_nano/l/" in error
    assert "seed was 0, is 5" in error


@pytest.mark.parametrize("length", [None, 0, 0.5, 0.99])
@pytest.mark.parametrize("name", ["chosen.json", "front.csv", "progress.csv"])
def test_what_a_search_has_left_is_whole_or_is_written_again(
    run: Callable[..., None], workspace: Path, name: str, length: float | None
) -> None:
    folder = workspace / "search" / "jetson_nano" / "l"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".log"}
    path = folder / name
    if length is None:
        path.unlink()
    else:
        path.write_bytes(before[name][: int(length * len(before[name]))])
    run(run_search.main, *CELL, *SMALL)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".log"} == before


def test_a_search_whose_front_lacks_a_line_is_written_again(run: Callable[..., None], workspace: Path) -> None:
    path = workspace / "search" / "jetson_nano" / "l" / "front.csv"
    before = path.read_text()
    path.write_text("".join(before.splitlines(keepends=True)[:-1]))
    run(run_search.main, *CELL, *SMALL)
    assert path.read_text() == before


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/studies.db"])
@pytest.mark.parametrize("name", ["moved", "."])
def test_a_search_goes_on_in_a_workspace_that_was_moved(
    search: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    storage: str | None,
    name: str,
) -> None:
    outputs = ("chosen.json", "front.csv", "progress.csv")
    longer = [*CELL, "search.generations=3"]
    whole = search(*longer) / "jetson_nano" / "l"
    expected = [(whole / output).read_bytes() for output in outputs]
    place, moved = tmp_path / "place", tmp_path / "moved"
    overrides = [*longer, *([f"storage={storage.format(tmp_path)}"] if storage else [])]
    evaluated: list[int] = []
    evaluate = PredictorEvaluator.evaluate

    def counted(evaluator: PredictorEvaluator, archs: Sequence[Arch]) -> list[Accuracy]:
        if place.exists() and len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(len(evaluated))
        return evaluate(evaluator, archs)

    monkeypatch.setattr(PredictorEvaluator, "evaluate", counted)
    with pytest.raises(SystemExit):
        search(*overrides, f"workspace={place}")
    assert evaluated == [0, 1]
    place.rename(moved)
    monkeypatch.chdir(moved)
    search(*overrides, f"workspace={moved if name == 'moved' else name}")
    assert evaluated == [0, 1, 2, 3]
    assert [(moved / "search" / "jetson_nano" / "l" / output).read_bytes() for output in outputs] == expected


def test_a_search_out_of_time_goes_on(search: Callable[..., Path]) -> None:
    folder = search(*CELL, "search.seconds=0") / "jetson_nano" / "l"
    assert read_json(folder / "chosen.json")["stopped_by"] == "seconds"
    search(*CELL)
    record = read_json(folder / "chosen.json")
    assert (record["stopped_by"], record["evaluations"]) == ("generations", 16)


def test_devices_together_do_not_write_over_a_search_of_their_own(
    run: Callable[..., None], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(run_search.main, "devices=[jetson_nano,raspberry_pi_4b]", "tier=l", *SMALL)
    assert "jetson_nano/l: has a search of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["device=toaster"], "jetson_nano, raspberry_pi_4b, snapdragon_855"),
        (["devices=[jetson_nano,toaster]"], "device is 'toaster'; it must be one of "),
        (["devices=[jetson_nano,jetson_nano]"], "it must be a list of different names"),
        (["goal=shared"], "goal is 'shared'; it must be front, as there is one device"),
        (["tier=xxl"], "device raspberry_pi_4b has no tier 'xxl' for space 'tiny'; known: xs, s, m, l"),
        (["budget_ms=0.01", "tier=none"], "the least possible latency is"),
        (["fps=30", "budget_ms=3"], "budget_ms is 3; it must be null where fps is given"),
        (["max_params=10"], "max_params of 10 is below what any subnet of space 'tiny' takes: the least possible is"),
        (["device.name=mine"], "device mine has no budgets of its own; give budget_ms="),
        (["device.table=mine"], "unknown latency table 'mine'; shipped:"),
        (
            ["search.strategy=luck"],
            "search.strategy is 'luck'; it must be one of surrogate, evolution, random,",
        ),
        (["search.generations=null"], "search.generations, evaluations, plateau_gain and seconds are all null"),
        (
            ["search.evolution.population=1"],
            "search.evolution.population is 1; it must be an integer from 2 to 1000000",
        ),
        (["warm_start=nowhere"], "nowhere/chosen.json: no such file; search first"),
        (["storage=oracle9://host/name"], "oracle9://host/name: the study's storage failed"),
        (["space=litepose"], "the predictor was fitted on space 'tiny', not on this 'litepose'"),
        (["seed=1", *CELL, *SMALL], "seed was 0, is 1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(run_search.main, "search.verify_top=0", *overrides)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
