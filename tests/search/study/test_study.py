"""The study: what it records, and that a killed search ends as if it had not been killed."""

import itertools
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from litepose_ofa.search.accuracy.evaluators import Accuracy, AccuracyCache, Source, SupernetEvaluator
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings
from litepose_ofa.search.strategies.strategies import SurrogateEvolution
from litepose_ofa.search.strategies.surrogates import FixedSurrogate, LearnedSurrogate
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.storages import JOURNAL_FILE
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.search.study.trials import trial_distributions, trial_params
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.errors import InputError

SMALL = StudySettings(first=12, batch=10)
STOP = StopRule(generations=3)
INNER = EvolutionSettings(population=40, generations=5)


class Recorder:
    """An evaluator that counts, and can be killed at its n-th call or answer as it is told."""

    source: Source = "predictor"

    def __init__(self, predictor: AccuracyPredictor, die_at: int | None = None, ap: float | None = None) -> None:
        self._inner = predictor
        self._die_at = die_at
        self._ap = ap
        self.calls = 0

    def evaluate(self, archs: Sequence[Arch]) -> list[Accuracy]:
        self.calls += 1
        if self.calls == self._die_at:
            if self._ap is None:
                raise KeyboardInterrupt
            return [Accuracy(self._ap, self.source) for _ in archs]
        return self._inner.evaluate(archs)

    def describe(self) -> Mapping[str, Any]:
        return self._inner.describe()


Make = Callable[..., SearchStudy]


@pytest.fixture(scope="module")
def make(problem: SearchProblem, predictor: AccuracyPredictor) -> Make:
    def make_study(storage: Path | str, **changes: Any) -> SearchStudy:
        asked = changes.pop("problem", problem)
        evaluator = changes.pop("evaluator", None) or predictor
        strategy = changes.pop("strategy", None) or SurrogateEvolution(asked, FixedSurrogate(predictor), INNER)
        location = storage / JOURNAL_FILE if isinstance(storage, Path) else storage
        arguments: dict[str, Any] = {"seed": 3, "settings": SMALL, "stop": STOP, **changes}
        return SearchStudy(Generations(asked, strategy, **arguments), evaluator, storage=location)

    return make_study


def load(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL_FILE))
    return optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))


def assert_equal(a: History, b: History) -> None:
    for name in ("genomes", "ap", "ap_std", "latency_ms", "excess"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture(scope="module")
def uninterrupted(make: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, History]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, make(folder).run().history


def test_optuna_reads_the_journal(uninterrupted: tuple[Path, History], problem: SearchProblem) -> None:
    folder, history = uninterrupted
    study = load(folder)
    assert len(study.trials) == len(np.unique(history.genomes, axis=0)) == 12 + 3 * 10
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    assert study.metric_names == ["AP", "latency_ms/board"]
    assert [trial.values for trial in study.trials] == [
        [ap, ms] for ap, ms in zip(history.ap.tolist(), history.latency_ms[:, 0].tolist(), strict=True)
    ]
    for trial, genome in zip(study.trials, history.genomes, strict=True):
        arch = problem.cost.codec.decode(genome)
        assert trial.params == trial_params(arch)
        assert trial.user_attrs["arch_digest"] == arch.digest
        assert trial.user_attrs["genome"] == "-".join(map(str, genome.tolist()))
        assert (trial.constraints["violation"] == 0) == (trial.values[1] <= problem.budgets_ms["board"])
    front = {tuple(trial.values) for trial in study.best_trials}
    rows = history.rows(problem.front(history))
    assert front == set(zip(rows.ap.tolist(), rows.latency_ms[:, 0].tolist(), strict=True))


def test_parameters_are_few_and_inside_their_ranges(small_space: SearchSpace) -> None:
    assert len(trial_distributions(SearchSpace.preset("litepose"))) <= 20
    spaces = (small_space, *PRESETS.values())
    for space, seed in itertools.product(spaces, range(40)):
        ranges, arch = trial_distributions(space), space.sample(np.random.default_rng(seed))
        for name, value in trial_params(arch).items():
            assert ranges[name]._contains(ranges[name].to_internal_repr(value)), name


def test_parameters_have_the_names_that_stored_studies_have() -> None:
    stored = {
        "resolution": 256,
        "stem": 16,
        **{f"stage{s}.width": width for s, width in enumerate((16, 32, 48, 80))},
        **{f"stage{s}.depth": depth for s, depth in enumerate((6, 8, 10, 10))},
        "mean_kernel": 7.0,
        "mean_expansion": 6.0,
        **{f"deconv{i}": width for i, width in enumerate((16, 24, 24))},
    }
    assert stored.items() <= trial_params(published_archs()["search-XS"]).items()


@pytest.mark.parametrize("die_at", [1, 4])
def test_killed_while_evaluating(
    uninterrupted: tuple[Path, History], make: Make, predictor: AccuracyPredictor, tmp_path: Path, die_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, evaluator=Recorder(predictor, die_at)).run()
    resumed = Recorder(predictor)
    assert_equal(make(tmp_path, evaluator=resumed).run().history, uninterrupted[1])
    assert resumed.calls == 4 - (die_at - 1)
    assert len(load(tmp_path).trials) == 42


def test_what_was_measured_before_a_kill_is_not_measured_again(
    make: Make, problem: SearchProblem, tmp_path: Path
) -> None:
    """The search dies in the middle of its second generation; the accuracies are its only record of that one."""
    measured: list[Arch] = []

    def measuring(die_at: int) -> SearchStudy:
        def measure(arch: Arch) -> float:
            if len(measured) == die_at:
                raise KeyboardInterrupt
            measured.append(arch)
            return int(arch.digest, 16) / 16**12

        evaluator = SupernetEvaluator(measure, identity={}, cache=AccuracyCache(tmp_path / "accuracies.jsonl"))
        return make(tmp_path, evaluator=evaluator)

    with pytest.raises(KeyboardInterrupt):
        measuring(die_at=17).run()
    assert len(load(tmp_path).trials) == 12
    history = measuring(die_at=-1).run().history
    assert measured == problem.cost.codec.decode_many(history.genomes), "each once, in order"


def test_journal_cut_at_any_place(uninterrupted: tuple[Path, History], make: Make, tmp_path: Path) -> None:
    whole = (uninterrupted[0] / JOURNAL_FILE).read_bytes()
    for size in np.random.default_rng(0).integers(0, len(whole), 8).tolist():
        (tmp_path / JOURNAL_FILE).write_bytes(whole[:size])
        assert_equal(make(tmp_path).run().history, uninterrupted[1])
        assert len(load(tmp_path).trials) == 42


def test_a_search_that_learns_from_its_own_trials_resumes_too(
    make: Make, problem: SearchProblem, tmp_path: Path
) -> None:
    def learning(folder: Path) -> SearchStudy:
        return make(folder, strategy=SurrogateEvolution(problem, LearnedSurrogate(problem.cost.space), INNER))

    whole = learning(tmp_path / "whole").run().history
    journal = (tmp_path / "whole" / JOURNAL_FILE).read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / JOURNAL_FILE).write_bytes(journal[: 2 * len(journal) // 3])
    assert_equal(learning(tmp_path / "cut").run().history, whole)


def test_a_finished_study_evaluates_nothing(
    uninterrupted: tuple[Path, History], make: Make, predictor: AccuracyPredictor
) -> None:
    recorder = Recorder(predictor)
    before = (uninterrupted[0] / JOURNAL_FILE).read_bytes()
    assert_equal(make(uninterrupted[0], evaluator=recorder).run().history, uninterrupted[1])
    assert recorder.calls == 0
    assert (uninterrupted[0] / JOURNAL_FILE).read_bytes() == before


def test_sigkill(uninterrupted: tuple[Path, History], make: Make, tmp_path: Path) -> None:
    """A process of its own is killed while its journal grows; the next goes on."""
    journal, whole = tmp_path / JOURNAL_FILE, (uninterrupted[0] / JOURNAL_FILE).stat().st_size
    pickled = tmp_path / "study.pickle"
    pickled.write_bytes(pickle.dumps(make(tmp_path)))
    program = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb')).run()"
    process = subprocess.Popen([sys.executable, "-c", program, str(pickled)])
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > whole // 3):
        pass
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert whole // 3 < journal.stat().st_size < whole
    assert_equal(make(tmp_path).run().history, uninterrupted[1])
    assert len(load(tmp_path).trials) == 42


def test_another_search_in_the_same_folder_is_refused(
    uninterrupted: tuple[Path, History], problem: SearchProblem, make: Make, small_cost: CostModel, make_table: Any
) -> None:
    folder, _ = uninterrupted
    before = (folder / JOURNAL_FILE).read_bytes()
    other_budget = replace(problem, budgets_ms={"board": problem.budgets_ms["board"] + 1})
    slower = make_table(problem.cost.space, ms_per_mac=2e-7)
    other_table = SearchProblem(CostModel(problem.cost.space, tables={"board": slower}), {"board": 20.0})
    for study, named in (
        (make(folder, problem=other_budget), f"devices.board.budget_ms was {problem.budgets_ms['board']!r}"),
        (make(folder, problem=other_table), r"devices\.board\.network\.digest was"),
        (make(folder, seed=4), "seed was 3, is 4"),
        (make(folder, settings=replace(SMALL, batch=5)), "study.batch was 10, is 5"),
        (make(folder, warm=[problem.cost.space.largest()]), "warm_start was"),
        (make(folder, problem=SearchProblem(small_cost, {"board": 1e9})), "another space: was 'tiny', is 'small'"),
    ):
        with pytest.raises(InputError, match=named):
            study.run()
    assert (folder / JOURNAL_FILE).read_bytes() == before


def test_trials_that_this_search_would_not_propose_are_refused(
    uninterrupted: tuple[Path, History], make: Make, tmp_path: Path
) -> None:
    text = (uninterrupted[0] / JOURNAL_FILE).read_text()
    lines = text.splitlines(keepends=True)
    without_the_first = "".join(line for line in lines if "genome" not in line or line in lines[-40:])
    for journal, message in (
        (without_the_first, "generation 0 is not what this program proposes"),
        (text.replace('"generation":', '"round":'), "has trials that are not of a search"),
    ):
        (tmp_path / JOURNAL_FILE).write_text(journal)
        with pytest.raises(InputError, match=message):
            make(tmp_path).run()


@pytest.mark.parametrize("ap", [float("nan"), 1.5])
def test_an_impossible_accuracy_is_refused_and_the_study_goes_on_after(
    uninterrupted: tuple[Path, History], make: Make, predictor: AccuracyPredictor, tmp_path: Path, ap: float
) -> None:
    with pytest.raises(InputError, match=r"architecture \w{12} has the AP .* by the predictor; it must be from 0 to 1"):
        make(tmp_path, evaluator=Recorder(predictor, die_at=3, ap=ap)).run()
    assert len(load(tmp_path).trials) == 12 + 10
    assert_equal(make(tmp_path).run().history, uninterrupted[1])


def test_a_small_space_ends_when_all_is_evaluated(
    make: Make, small_space: SearchSpace, tmp_path: Path, make_table: Any
) -> None:
    space = small_space.restricted(["resolution", "width"])
    cost = CostModel(space, tables={"board": make_table(space)})
    genomes = np.unique(cost.codec.sample(200, np.random.default_rng(0)), axis=0)[:16]
    predictor = AccuracyPredictor(space, genomes, np.linspace(0.2, 0.6, len(genomes)), identity={})
    problem = SearchProblem(cost, {"board": 1e9})
    study = make(
        tmp_path,
        problem=problem,
        evaluator=predictor,
        strategy=SurrogateEvolution(problem, FixedSurrogate(predictor), INNER),
        settings=StudySettings(first=20, batch=40),
    )
    run = study.run()
    assert len(run.history) == space.size == 64
    assert run.stopped_by in ("exhausted", "generations")
    assert_equal(study.run().history, run.history)


def test_seconds_end_a_start_and_the_next_goes_on(
    uninterrupted: tuple[Path, History], make: Make, tmp_path: Path
) -> None:
    ticks = iter(range(100))
    timed = make(tmp_path, stop=replace(STOP, seconds=2), clock=lambda: float(next(ticks)))
    first = timed.run()
    assert (first.stopped_by, len(first.progress)) == ("seconds", 2)
    assert_equal(make(tmp_path).run().history, uninterrupted[1])


@pytest.mark.parametrize(("stop", "reason"), [(replace(STOP, seconds=2), "seconds"), (STOP, "generations")])
def test_what_was_searched_elsewhere_is_recorded_and_not_searched_on(
    stop: StopRule, reason: str, uninterrupted: tuple[Path, History], make: Make, tmp_path: Path
) -> None:
    """As Ray Tune does it: what has no time left there gets none here either, and the next start goes on."""
    ticks = iter(range(100))
    elsewhere = make("memory", stop=stop, clock=lambda: float(next(ticks))).run()
    assert elsewhere.stopped_by == reason
    recorded = make(tmp_path, stop=stop).run(searched=elsewhere)
    assert (recorded.stopped_by, recorded.progress) == (reason, elsewhere.progress)
    assert_equal(recorded.history, elsewhere.history)
    again = make(tmp_path).run()
    assert_equal(again.history, uninterrupted[1])
    assert make(tmp_path, stop=stop).run(searched=elsewhere).progress == again.progress  # what is recorded stays


def test_one_study_serves_several_devices(
    make: Make, problem: SearchProblem, predictor: AccuracyPredictor, make_table: Any, tmp_path: Path
) -> None:
    space = problem.cost.space
    tables = {"board": problem.cost.tables["board"], "phone": make_table(space, ms_per_mac=3e-7)}
    cost = CostModel(space, tables=tables)
    budgets = {device: (cost.fastest(device)[1] + cost.slowest(device)[1]) / 2 for device in tables}
    both = SearchProblem(cost, budgets)
    run = make(tmp_path, problem=both).run()
    for column, device in enumerate(both.devices):
        alone = replace(both, budgets_ms={device: budgets[device]})
        single = make("memory", problem=alone).run().history
        assert both.views(run.history)[column].volume > 0.9 * alone.hypervolume(single)


def test_a_warm_start_is_evaluated_first(make: Make, problem: SearchProblem) -> None:
    warm = [problem.cost.space.sample(np.random.default_rng(seed)) for seed in range(4)]
    history = make("memory", warm=warm).run().history
    assert problem.cost.codec.decode_many(history.genomes[2:6]) == warm
