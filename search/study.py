"""The outer loop of a search: an Optuna study in a journal file, whose trials are evaluated architectures.

A generation's randomness derives from the seed and the generation's number, and its proposal from the generations
before it. So a search that was killed goes on from its journal and ends exactly as if it had not been.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from search.append_only import read_json_lines, remove_torn_line, sole_user
from search.evaluators import Evaluator
from search.evolution import Strategy, first_genomes
from search.genome import Genomes
from search.problem import History, SearchProblem
from search.trials import finished_trial, generation_of, genome_of, history_of, trial_distributions
from supernet.errors import InputError, require

JOURNAL_FILE = "study.log"
IDENTITY_KEY = "search"


@dataclass(frozen=True, slots=True)
class StudySettings:
    """Sizes of the outer loop.

    Attributes:
        first: Trials of generation 0, drawn from the whole space.
        batch: Trials of every later generation, proposed by the strategy.
        generations: Generations after the first.

    Raises:
        InputError: If a value is out of its range.
    """

    first: int = 64
    batch: int = 64
    generations: int = 5

    def __post_init__(self) -> None:
        require(self.first >= 1, "first", self.first, "at least 1")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.generations >= 0, "generations", self.generations, "at least 0")


class SearchStudy:
    """A search that can be killed and started again.

    Args:
        problem: What is searched.
        evaluator: Gives the accuracies of the trials.
        strategy: Proposes trials after the first generation.
        path: The journal file; it is created, or continued.
        name: Name of the study in the journal.
        seed: Seed of all randomness.
        settings: Sizes of the outer loop.

    Example:
        >>> study = SearchStudy(problem, evaluator, strategy, path="study.log")  # doctest: +SKIP
        >>> best = study.run().front(problem.budget_ms)[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        problem: SearchProblem,
        evaluator: Evaluator,
        strategy: Strategy,
        *,
        path: Path | str,
        name: str = "search",
        seed: int = 0,
        settings: StudySettings | None = None,
    ) -> None:
        self.problem = problem
        self.path = Path(path)
        self._evaluator = evaluator
        self._strategy = strategy
        self._name = name
        self._seed = seed
        self._settings = settings or StudySettings()
        self._distributions = trial_distributions(problem.cost.space)

    @property
    def identity(self) -> dict[str, Any]:
        """What the outcome depends on, as plain JSON values; a journal belongs to one identity."""
        problem = self.problem
        identity = {
            "space": problem.cost.space.to_dict(),
            "num_keypoints": problem.cost.num_keypoints,
            "device": problem.device,
            "table": problem.cost.tables[problem.device].digest,
            "budget_ms": problem.budget_ms,
            "evaluator": dict(self._evaluator.describe()),
            "strategy": dict(self._strategy.describe()),
            "study": asdict(self._settings),
            "seed": self._seed,
        }
        if problem.latency_sources["decoding"] is not None:
            identity["decoding"] = problem.latency_sources["decoding"]
        plain: dict[str, Any] = json.loads(json.dumps(identity))
        return plain

    def run(self, on_generation: Callable[[int, History], None] | None = None) -> History:
        """Search to the end, from wherever the journal is.

        Args:
            on_generation: Called after each generation with its number and all evaluations so far.

        Returns:
            All evaluations, in the order of the trials.

        Raises:
            InputError: If the journal is damaged, in use by another process, or of another search.
        """
        with sole_user(self.path), _quiet_optuna():
            study = self._open()
            told: dict[int, list[FrozenTrial]] = {}
            for trial in study.get_trials(deepcopy=False):
                told.setdefault(generation_of(trial), []).append(trial)
            history = history_of([], self.problem.cost.codec.length)
            for generation in range(self._settings.generations + 1):
                history = history.extended(self._complete(study, generation, told.get(generation, []), history))
                if on_generation is not None:
                    on_generation(generation, history)
        return history

    def _complete(self, study: optuna.Study, generation: int, told: list[FrozenTrial], history: History) -> History:
        """Return the evaluations of one generation; propose it, evaluate it and tell what is missing."""
        size = self._settings.batch if generation else self._settings.first
        if len(told) == size:
            return history_of(told, self.problem.cost.codec.length)
        proposed = self._propose(generation, size, history)
        if [genome_of(trial) for trial in told] != proposed[: len(told)].tolist():
            raise InputError(f"{self.path}: generation {generation} is not what this program proposes; remove the file")
        missing = self._evaluate(proposed, generation)[len(told) :] if len(told) < len(proposed) else []
        study.add_trials(missing)
        return history_of(told + missing, self.problem.cost.codec.length)

    def _propose(self, generation: int, size: int, history: History) -> Genomes:
        rng = np.random.default_rng([self._seed, generation])
        if generation == 0:
            return first_genomes(self.problem.cost.codec, size, rng)
        return self._strategy.propose(history, size, rng)

    def _evaluate(self, genomes: Genomes, generation: int) -> list[FrozenTrial]:
        """Evaluate a whole generation, told or not: the last bit of a prediction may depend on its batch."""
        archs = self.problem.cost.codec.decode_many(genomes)
        accuracies = self._evaluator.evaluate(archs)
        latencies = self.problem.latency_ms(genomes).tolist()
        return [
            finished_trial(
                arch,
                genome,
                accuracy,
                latency_ms=latency_ms,
                budget_ms=self.problem.budget_ms,
                generation=generation,
                distributions=self._distributions,
            )
            for arch, genome, accuracy, latency_ms in zip(archs, genomes, accuracies, latencies, strict=True)
        ]

    def _open(self) -> optuna.Study:
        remove_torn_line(self.path)
        read_json_lines(self.path)
        storage = JournalStorage(_SoleUserJournal(self.path))
        if self._name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=self._name, storage=storage)
        else:
            study = optuna.create_study(storage=storage, study_name=self._name, directions=["maximize", "minimize"])
        recorded = study.user_attrs.get(IDENTITY_KEY)
        if recorded is None and not study.get_trials(deepcopy=False):
            study.set_metric_names(["AP", "latency_ms"])
            study.set_user_attr(IDENTITY_KEY, self.identity)
        elif recorded != self.identity:
            difference = _difference(recorded, self.identity)
            raise InputError(f"{self.path}: is the study of another search ({difference}); remove it to search again")
        return study


class _SoleUserJournal(JournalFileBackend):
    """A journal that only this process writes: no lock file that would outlive a kill, no wait for the disk a trial."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(lines)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _difference(recorded: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Say which parts of two identities differ, with their values where these are short."""
    before = recorded or {}
    keys = [key for key in now if before.get(key) != now[key]]
    shown = [
        f"{key} was {before.get(key)!r}, is {now[key]!r}" if not isinstance(now[key], dict) else f"another {key}"
        for key in keys
    ]
    return "; ".join(shown)
