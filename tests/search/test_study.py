"""The study: what it records, and that a killed search ends as if it had not been killed."""

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from search.cost import CostModel
from search.evaluators import Accuracy, PredictorEvaluator, Source
from search.evolution import EvolutionSettings, SurrogateEvolution
from search.predictor import AccuracyPredictor
from search.problem import History, SearchProblem
from search.study import JOURNAL_FILE, SearchStudy, StudySettings
from search.trials import CONSTRAINT, trial_distributions, trial_params
from supernet.arch import Arch
from supernet.errors import InputError
from supernet.space import SearchSpace

SMALL = StudySettings(first=12, batch=10, generations=3)
INNER = EvolutionSettings(population=40, generations=5)


class Recorder:
    """An evaluator that counts, and can be killed at its n-th call."""

    source: Source = "predictor"

    def __init__(self, predictor: AccuracyPredictor, die_at: int | None = None) -> None:
        self._inner = PredictorEvaluator(predictor)
        self._die_at = die_at
        self.calls = 0

    def evaluate(self, archs: Sequence[Arch]) -> list[Accuracy]:
        self.calls += 1
        if self.calls == self._die_at:
            raise KeyboardInterrupt
        return self._inner.evaluate(archs)

    def describe(self) -> Mapping[str, Any]:
        return self._inner.describe()


def make_study(
    folder: Path,
    problem: SearchProblem,
    predictor: AccuracyPredictor,
    evaluator: Any = None,
    **changes: Any,
) -> SearchStudy:
    arguments: dict[str, Any] = {"path": folder / JOURNAL_FILE, "seed": 3, "settings": SMALL, **changes}
    evaluator = evaluator or PredictorEvaluator(predictor)
    return SearchStudy(problem, evaluator, SurrogateEvolution(problem, predictor, INNER), **arguments)


def load(folder: Path) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL_FILE))
    return optuna.load_study(study_name="search", storage=optuna.storages.JournalStorage(backend))


def assert_equal(a: History, b: History) -> None:
    for name in ("genomes", "ap", "ap_std", "latency_ms"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture(scope="module")
def uninterrupted(
    problem: SearchProblem, predictor: AccuracyPredictor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, History]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, make_study(folder, problem, predictor).run()


def test_sizes_and_no_genome_twice(uninterrupted: tuple[Path, History], problem: SearchProblem) -> None:
    _, history = uninterrupted
    assert len(history) == 12 + 3 * 10
    assert len(np.unique(history.genomes, axis=0)) == len(history)
    assert problem.cost.codec.is_valid(history.genomes).all()


def test_the_search_betters_its_first_generation(uninterrupted: tuple[Path, History], problem: SearchProblem) -> None:
    _, history = uninterrupted
    feasible_ap = np.where(history.latency_ms <= problem.budget_ms, history.ap, 0)
    assert feasible_ap[12:].max() > feasible_ap[:12].max() + 0.01


def test_optuna_reads_the_journal(uninterrupted: tuple[Path, History], problem: SearchProblem) -> None:
    folder, history = uninterrupted
    study = load(folder)
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    assert study.metric_names == ["AP", "latency_ms"]
    assert [trial.values for trial in study.trials] == [
        [ap, ms] for ap, ms in zip(history.ap.tolist(), history.latency_ms.tolist(), strict=True)
    ]
    for trial, genome in zip(study.trials, history.genomes, strict=True):
        arch = problem.cost.codec.decode(genome)
        assert trial.params == trial_params(arch)
        assert trial.user_attrs["arch_digest"] == arch.digest
        assert trial.constraints == {CONSTRAINT: trial.values[1] - problem.budget_ms}
    front = {tuple(trial.values) for trial in study.best_trials}
    rows = history.rows(history.front(problem.budget_ms))
    assert front == set(zip(rows.ap.tolist(), rows.latency_ms.tolist(), strict=True))


def test_parameters_are_few_and_inside_their_ranges() -> None:
    space = SearchSpace.preset("litepose")
    ranges = trial_distributions(space)
    assert len(ranges) == 21
    for seed in range(20):
        arch = space.sample(np.random.default_rng(seed))
        for name, value in trial_params(arch).items():
            assert ranges[name]._contains(ranges[name].to_internal_repr(value)), name


def test_the_seed_decides(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    _, history = uninterrupted
    assert_equal(make_study(tmp_path / "same", problem, predictor).run(), history)
    other = make_study(tmp_path / "other", problem, predictor, seed=4).run()
    assert not np.array_equal(other.genomes, history.genomes)


@pytest.mark.parametrize("die_at", [1, 2, 4])
def test_killed_while_evaluating(
    uninterrupted: tuple[Path, History],
    problem: SearchProblem,
    predictor: AccuracyPredictor,
    tmp_path: Path,
    die_at: int,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_study(tmp_path, problem, predictor, Recorder(predictor, die_at)).run()
    resumed = Recorder(predictor)
    assert_equal(make_study(tmp_path, problem, predictor, resumed).run(), uninterrupted[1])
    assert resumed.calls == 4 - (die_at - 1)
    assert len(load(tmp_path).trials) == 42


def test_journal_cut_at_any_place(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    whole = (uninterrupted[0] / JOURNAL_FILE).read_bytes()
    for size in np.random.default_rng(0).integers(0, len(whole), 8).tolist():
        (tmp_path / JOURNAL_FILE).write_bytes(whole[:size])
        assert_equal(make_study(tmp_path, problem, predictor).run(), uninterrupted[1])
        assert len(load(tmp_path).trials) == 42


def test_a_finished_study_evaluates_nothing(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor
) -> None:
    recorder = Recorder(predictor)
    before = (uninterrupted[0] / JOURNAL_FILE).read_bytes()
    assert_equal(make_study(uninterrupted[0], problem, predictor, recorder).run(), uninterrupted[1])
    assert recorder.calls == 0
    assert (uninterrupted[0] / JOURNAL_FILE).read_bytes() == before


def test_sigkill(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    """A process of its own is killed while its journal grows; the next goes on."""
    journal, whole = tmp_path / JOURNAL_FILE, (uninterrupted[0] / JOURNAL_FILE).stat().st_size
    pickled = tmp_path / "study.pickle"
    pickled.write_bytes(pickle.dumps(make_study(tmp_path, problem, predictor)))
    program = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb')).run()"
    for goal in (whole // 10, whole // 2):
        process = subprocess.Popen([sys.executable, "-c", program, str(pickled)])
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > goal):
            pass
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert whole // 2 < journal.stat().st_size < whole
    assert_equal(make_study(tmp_path, problem, predictor).run(), uninterrupted[1])
    assert len(load(tmp_path).trials) == 42


def test_another_search_in_the_same_folder_is_refused(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor, small_cost: CostModel
) -> None:
    folder, _ = uninterrupted
    before = (folder / JOURNAL_FILE).read_bytes()
    other_budget = replace(problem, budget_ms=problem.budget_ms + 1)
    for study, named in (
        (make_study(folder, other_budget, predictor), f"budget_ms was {problem.budget_ms!r}"),
        (make_study(folder, problem, predictor, seed=4), "seed was 3, is 4"),
        (make_study(folder, problem, predictor, settings=replace(SMALL, batch=5)), "another study"),
        (make_study(folder, SearchProblem(small_cost, "board", 1e9), predictor), "another space"),
    ):
        with pytest.raises(InputError, match=named):
            study.run()
    assert (folder / JOURNAL_FILE).read_bytes() == before


def test_a_damaged_journal_is_refused(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    lines = (uninterrupted[0] / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    lines[7] = lines[7][:40] + b"\n"
    (tmp_path / JOURNAL_FILE).write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"study\.log, line 8: is not a JSON object"):
        make_study(tmp_path, problem, predictor).run()


def test_trials_that_this_search_would_not_propose_are_refused(
    uninterrupted: tuple[Path, History], problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    lines = (uninterrupted[0] / JOURNAL_FILE).read_bytes().splitlines(keepends=True)
    header = [line for line in lines if b"genome" not in line]
    trials = [line for line in lines if b"genome" in line]
    (tmp_path / JOURNAL_FILE).write_bytes(b"".join([*header, *trials[1:5]]))
    with pytest.raises(InputError, match="generation 0 is not what this program proposes"):
        make_study(tmp_path, problem, predictor).run()


def test_two_searches_do_not_write_one_journal(
    problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    def intrude(generation: int, history: History) -> None:
        with pytest.raises(InputError, match="another process writes it"):
            make_study(tmp_path, problem, predictor).run()

    make_study(tmp_path, problem, predictor).run(intrude)


def test_a_small_space_ends_when_all_is_evaluated(small_space: SearchSpace, tmp_path: Path, make_table: Any) -> None:
    stage = replace(small_space.stages[0], kernels=(3,), channels=(8,))
    stages = (
        stage,
        *(replace(s, expansions=s.expansions[:1], channels=s.channels[:1]) for s in small_space.stages[1:]),
    )
    space = replace(small_space, stages=stages)
    cost = CostModel(space, tables={"board": make_table(space)})
    genomes = cost.codec.sample(200, np.random.default_rng(0))
    genomes = np.unique(genomes, axis=0)[:16]
    predictor = AccuracyPredictor.fit(space, genomes, np.linspace(0.2, 0.6, len(genomes)), identity={})
    study = make_study(tmp_path, SearchProblem(cost, "board", 1e9), predictor)
    history = study.run()
    assert len(history) == space.size == 32
    assert_equal(study.run(), history)


def test_optuna_is_as_loud_as_before(problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path) -> None:
    before = optuna.logging.get_verbosity()
    make_study(tmp_path, problem, predictor).run(lambda *_: None)
    assert optuna.logging.get_verbosity() == before
    assert json.loads((tmp_path / JOURNAL_FILE).read_text().splitlines()[0])
