"""The search in Ray Tune: proposals and front of the serial study, whatever finishes first and whoever is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle, tune
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator

from litepose_ofa.search.accuracy.evaluators import AccuracyCache, SupernetEvaluator
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.strategies.strategies import RandomStrategy
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.ray_tune_search import EXPERIMENT, GenerationSearcher, run_in_tune
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.search.study.trials import read_genome
from litepose_ofa.search.workers.pool import Measure
from litepose_ofa.search.workers.session import ray_session
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError

MEASURED_ON = {"weights": "w"}
SIZES: dict[str, Any] = {"seed": 3, "settings": StudySettings(first=6, batch=5), "stop": StopRule(generations=3)}
TRIALS = 6 + 3 * 5


def measure(arch: Arch) -> float:
    blocks = [block for stage in arch.stages for block in stage.blocks]
    return sum(block.kernel * block.expansion for block in blocks) / 1000 + arch.image_size / 1000


@pytest.fixture(scope="module")
def serial(problem: SearchProblem, tmp_path_factory: pytest.TempPathFactory) -> Generations:
    cache = AccuracyCache(tmp_path_factory.mktemp("serial") / "a.jsonl")
    evaluator = SupernetEvaluator(measure, identity=MEASURED_ON, cache=cache)
    return SearchStudy(Generations(problem, strategy(problem), **SIZES), evaluator, storage="memory").run()


def strategy(problem: SearchProblem) -> EvolutionStrategy:
    return EvolutionStrategy(problem, EvolutionSettings(population=8))


def make_searcher(problem: SearchProblem, folder: Path) -> GenerationSearcher:
    cache = AccuracyCache(folder / "a.jsonl")
    return GenerationSearcher(Generations(problem, strategy(problem), **SIZES), cache=cache, measured_on=MEASURED_ON)


def take(searcher: GenerationSearcher, prefix: str = "t") -> dict[str, dict[str, Any]]:
    """Ask for trials until there are none for the moment."""
    trials: dict[str, dict[str, Any]] = {}
    while isinstance(config := searcher.suggest(f"{prefix}{len(trials)}"), dict):
        trials[f"{prefix}{len(trials)}"] = config
    return trials


def ap_of(searcher: GenerationSearcher, config: dict[str, Any]) -> float:
    return measure(searcher.generations.problem.cost.codec.decode(read_genome(config["genome"])))


def finish(searcher: GenerationSearcher, trials: dict[str, dict[str, Any]], rng: np.random.Generator) -> None:
    for trial_id in rng.permutation(list(trials)).tolist():
        searcher.on_trial_complete(trial_id, {"ap": ap_of(searcher, trials[trial_id]), "refused": None})


def run(searcher: GenerationSearcher, rng: np.random.Generator) -> int:
    """Be Tune to the end, finishing the trials of a generation in any order; return how many there were."""
    count = 0
    while trials := take(searcher, f"{rng.integers(10**9)}-"):
        finish(searcher, trials, rng)
        count += len(trials)
    assert searcher.suggest("one more") == Searcher.FINISHED
    return count


def assert_equal(a: Generations, b: Generations) -> None:
    assert (a.progress, a.stopped_by) == (b.progress, b.stopped_by)
    for name in ("genomes", "ap", "latency_ms"):
        np.testing.assert_array_equal(getattr(a.history, name), getattr(b.history, name))


def test_the_first_generation_and_the_end_are_those_of_the_serial_study(
    problem: SearchProblem, serial: Generations, tmp_path: Path
) -> None:
    searcher = make_searcher(problem, tmp_path)
    first = take(searcher)
    assert [read_genome(config["genome"]) for config in first.values()] == serial.history.genomes[:6].tolist()
    assert {config["generation"] for config in first.values()} == {0}
    assert searcher.suggest("early") is None, "the next generation waits for the whole of this one"
    finish(searcher, first, np.random.default_rng(1))
    assert run(searcher, np.random.default_rng(2)) == TRIALS - 6
    assert_equal(searcher.generations, serial)


@pytest.mark.parametrize("finished", [0, 9])
def test_saved_and_restored_it_ends_as_if_nothing_had_happened(
    problem: SearchProblem, serial: Generations, tmp_path: Path, finished: int
) -> None:
    """Trials that ran when it was saved report to the restored searcher."""
    searcher, rng = make_searcher(problem, tmp_path / "before"), np.random.default_rng(0)
    trials = take(searcher)
    for _ in range(finished):
        trial_id = next(iter(trials))
        finish(searcher, {trial_id: trials.pop(trial_id)}, rng)
        if not trials:
            trials = take(searcher, "next")
    SearchGenerator(searcher).save_to_dir(str(tmp_path), "session")
    restored = make_searcher(problem, tmp_path / "before")
    SearchGenerator(restored).restore_from_dir(str(tmp_path))
    finish(restored, trials, rng)
    run(restored, rng)
    assert_equal(restored.generations, serial)


def test_what_was_measured_is_no_trial_again(problem: SearchProblem, serial: Generations, tmp_path: Path) -> None:
    killed, rng = make_searcher(problem, tmp_path), np.random.default_rng(0)
    first = take(killed)
    finish(killed, dict(list(first.items())[:4]), rng)
    again = make_searcher(problem, tmp_path)
    assert run(again, rng) == TRIALS - 4
    assert_equal(again.generations, serial)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"ap": float("nan"), "refused": None}, "has the AP nan"),
        ({"ap": float("nan"), "refused": "image 3 is bad"}, "image 3 is bad"),
        (None, "could not be measured"),
    ],
)
def test_a_refused_trial_ends_the_search_and_another_start_tries_again(
    problem: SearchProblem, serial: Generations, tmp_path: Path, result: dict[str, Any] | None, message: str
) -> None:
    searcher, rng = make_searcher(problem, tmp_path), np.random.default_rng(0)
    trials = take(searcher)
    searcher.on_trial_complete("t2", result, error=result is None)
    assert searcher.suggest("next") == Searcher.FINISHED
    assert message in str(searcher.refused)
    del trials["t2"]
    finish(searcher, trials, rng)
    again = make_searcher(problem, tmp_path)
    assert run(again, rng) == TRIALS - 5
    assert_equal(again.generations, serial)


def test_an_exhausted_space_ends_as_in_the_study(problem: SearchProblem, tmp_path: Path) -> None:
    class Spent(RandomStrategy):
        def propose(self, history: Any, n: int, rng: np.random.Generator) -> Any:
            return history.genomes[:0]

    generations = Generations(problem, Spent(problem), **SIZES)
    cache = AccuracyCache(tmp_path / "a.jsonl")
    searcher = GenerationSearcher(generations, cache=cache, measured_on=MEASURED_ON)
    assert run(searcher, np.random.default_rng(0)) == 6
    evaluator = SupernetEvaluator(measure, identity=MEASURED_ON, cache=cache)
    assert_equal(generations, SearchStudy(generations, evaluator, storage="memory").run())


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(num_cpus=2):
        yield


@pytest.fixture
def make_measure(tmp_path: Path) -> Callable[..., Callable[[], Measure]]:
    """Measures as here, noting what; the first worker to meet an architecture of ``dies`` ends; pickled by value."""

    def make(dies: frozenset[str] = frozenset(), refuses: str = "") -> Callable[[], Measure]:
        def build() -> Measure:
            def measure_there(arch: Arch) -> float:
                with (tmp_path / "measured").open("a") as file:
                    file.write(f"{arch.digest}\n")
                if arch.digest in dies and (tmp_path / "measured").read_text().count(arch.digest) == 1:
                    os._exit(1)
                if arch.digest == refuses:
                    raise InputError(f"{arch.digest} is bad")
                blocks = [block for stage in arch.stages for block in stage.blocks]
                return sum(block.kernel * block.expansion for block in blocks) / 1000 + arch.image_size / 1000

            return measure_there

        return build

    return make


def in_tune(problem: SearchProblem, folder: Path, make_measure: Callable[[], Measure]) -> Generations:
    return run_in_tune(
        make_measure,
        Generations(problem, strategy(problem), **SIZES),
        cache=AccuracyCache(folder / "a.jsonl"),
        measured_on=MEASURED_ON,
        folder=folder,
        num_workers=2,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_tune_ends_with_the_front_of_the_serial_study(
    problem: SearchProblem, serial: Generations, make_measure: Callable[..., Callable[[], Measure]], tmp_path: Path
) -> None:
    """A worker dies twice, a trial is refused and ends the first start; the second goes on from the record."""
    codec = problem.cost.codec
    digests = [codec.decode(genome).digest for genome in serial.history.genomes]
    dies = frozenset({digests[2], digests[9]})
    with pytest.raises(InputError, match=f"{digests[12]} is bad"):
        in_tune(problem, tmp_path, make_measure(dies, refuses=digests[12]))
    assert_equal(in_tune(problem, tmp_path, make_measure(dies)), serial)
    measured = (tmp_path / "measured").read_text().split()
    assert sorted(measured) == sorted([*digests, *dies, digests[12]]), "nothing else was measured twice"
    table = tune.ExperimentAnalysis(str(tmp_path / EXPERIMENT)).results_df
    assert {"config/resolution", "config/mean_kernel", "ap"} <= {*table.columns}


@pytest.mark.slow
def test_killed_it_goes_on_from_what_is_measured(problem: SearchProblem, tmp_path: Path) -> None:
    breed, sizes = strategy(problem), {"settings": StudySettings(first=6, batch=5), "stop": StopRule(generations=2)}

    def search(folder: Path, kill_at: int) -> None:
        class KilledCache(AccuracyCache):
            def put(self, *args):
                super().put(*args)
                if len(self) == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        def measure(arch: Arch) -> float:
            with (folder / "measured").open("a") as file:
                file.write(f"{arch.digest}\n")
            return int(arch.digest, 16) / 16**12

        cache, generations = KilledCache(folder / "a.jsonl"), Generations(problem, breed, **sizes)
        with ray_session(num_cpus=1):
            run = run_in_tune(lambda: measure, generations, cache=cache, measured_on={}, folder=folder)
        print(run.history.genomes.tolist(), run.history.ap.tolist(), run.progress, run.stopped_by)

    def run_program(folder: Path, kill_at: int) -> subprocess.CompletedProcess[bytes]:
        folder.mkdir(exist_ok=True)
        program = "import sys; from ray import cloudpickle; cloudpickle.load(sys.stdin.buffer)()"
        pickled = cloudpickle.dumps(partial(search, folder, kill_at))
        return subprocess.run([sys.executable, "-c", program], input=pickled, capture_output=True, check=False)

    killed = run_program(tmp_path / "killed", 8)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, whole = run_program(tmp_path / "killed", 0), run_program(tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    assert resumed.stdout == whole.stdout != b""
    measured = (tmp_path / "killed" / "measured").read_text().split()
    assert len(measured) - len(set(measured)) <= 1, "at most what was being measured is measured again"
    assert len(set(measured)) == 16
