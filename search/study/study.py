"""The outer loop of a search: an Optuna study whose trials are evaluated architectures."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from litepose_ofa.search.accuracy.evaluators import Evaluator
from litepose_ofa.search.problem.problem import History
from litepose_ofa.search.strategies.optuna_strategies import quiet_optuna
from litepose_ofa.search.study.generations import Generations
from litepose_ofa.search.study.storages import open_storage
from litepose_ofa.search.study.trials import finished_trials, genome_of, history_of
from litepose_ofa.supernet.errors import InputError, shown

IDENTITY_KEY = "search"
SHOWN_DIFFERENCES = 3


class SearchStudy:
    """A search that can be killed and started again: it ends exactly as if it had not been killed.

    Args:
        generations: The search, from its beginning.
        evaluator: Gives the accuracies of the trials.
        storage: Where the study is kept, see ``open_storage``.
        name: Name of the study in its storage, where there is none of this search yet.
    """

    def __init__(
        self, generations: Generations, evaluator: Evaluator, *, storage: Path | str, name: str = "search"
    ) -> None:
        self.problem = generations.problem
        self._generations = generations
        self._evaluator = evaluator
        self._storage = storage
        self._name = name

    @property
    def identity(self) -> dict[str, Any]:
        """All that the outcome depends on, as plain JSON values; a study in a storage belongs to one identity."""
        evaluator = dict(self._evaluator.describe())
        identity = {**self.problem.identity, "evaluator": evaluator, **self._generations.identity}
        plain: dict[str, Any] = json.loads(json.dumps(identity))
        return plain

    def run(
        self,
        on_generation: Callable[[Generations], object] = lambda search: None,
        *,
        searched: Generations | None = None,
    ) -> Generations:
        """Search to the end, from wherever the storage is.

        Args:
            on_generation: Called after each generation.
            searched: The same search as it ended elsewhere, on Ray Tune; this one records it, and ends there too.

        Raises:
            InputError: If the storage is damaged, in use by another process or of another search, or if an accuracy is
                not a number from 0 to 1. The study keeps what it had.
        """
        clock = self._generations.clock if searched is None else lambda: 0.0
        with quiet_optuna(), open_storage(self._storage, self._name) as storage:
            study = self._open(storage)
            recorded = self._recorded(study)
            course = replace(self._generations, clock=clock)
            while course.stopped_by is None:
                number = course.number
                course.take(self._complete(study, course, recorded.pop(number, [])))
                if course.number > number:
                    on_generation(course)
                if searched is not None and course.number >= len(searched.progress) and not recorded:
                    course.stopped_by = course.stopped_by or searched.stopped_by
        return course

    def _complete(self, study: optuna.Study, course: Generations, recorded: list[FrozenTrial]) -> History:
        """Return the evaluations of one generation; propose it, evaluate it and record the trials that are missing.

        It is evaluated whole, as the last bit of a prediction may depend on its batch; what was measured is cached.
        """
        if len(recorded) == course.size:
            return history_of(recorded, self.problem)
        proposed = course.propose()
        if [genome_of(trial) for trial in recorded] != proposed[: len(recorded)].tolist():
            raise InputError(
                f"{self._shown}: generation {course.number} is not what this program proposes; remove the study"
            )
        if len(recorded) < len(proposed):
            archs = self.problem.cost.codec.decode_many(proposed)
            accuracies = self._evaluator.evaluate(archs)
            for arch, accuracy in zip(archs, accuracies, strict=True):
                if not 0 <= accuracy.ap <= 1:
                    known = f"has the AP {accuracy.ap!r} by the {accuracy.source}"
                    raise InputError(f"architecture {arch.digest} {known}; it must be from 0 to 1")
            evaluated = self.problem.evaluated(proposed, np.array([accuracy.ap for accuracy in accuracies]))
            trials = finished_trials(self.problem, evaluated, archs, accuracies, course.number)
            study.add_trials(trials[len(recorded) :])
            recorded = recorded + trials[len(recorded) :]
        return history_of(recorded, self.problem)

    def _open(self, storage: BaseStorage) -> optuna.Study:
        identities = {each.study_name: each.user_attrs.get(IDENTITY_KEY) for each in storage.get_all_studies()}
        known = [name for name, identity in identities.items() if identity == self.identity]
        if known:
            self._name = known[0]
        if self._name in identities:
            study = optuna.load_study(study_name=self._name, storage=storage)
        else:
            directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(self.problem.devices)]
            study = optuna.create_study(storage=storage, study_name=self._name, directions=directions)
        recorded = study.user_attrs.get(IDENTITY_KEY)
        if recorded is None and not study.get_trials(deepcopy=False):
            study.set_metric_names(["AP", *(f"latency_ms/{device}" for device in self.problem.devices)])
            study.set_user_attr(IDENTITY_KEY, self.identity)
        elif recorded != self.identity:
            difference = _difference(recorded or {}, self.identity)
            raise InputError(f"{self._shown}: is the study of another search ({difference}); remove it to search again")
        return study

    def _recorded(self, study: optuna.Study) -> dict[int, list[FrozenTrial]]:
        """Return the recorded trials by generation."""
        recorded: dict[int, list[FrozenTrial]] = {}
        try:
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                recorded.setdefault(int(trial.user_attrs["generation"]), []).append(trial)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self._shown}: has trials that are not of a search; remove the study") from None
        return recorded

    @property
    def _shown(self) -> str:
        """The storage and, where it has several studies, the name, without a password."""
        location = str(self._storage)
        if "://" not in location:
            return location
        scheme, _, rest = location.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}, study {self._name!r}"


def _difference(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name some parts of two identities that differ, with their values where these are short."""
    before, after = dict(_leaves(recorded)), dict(_leaves(now))
    keys = [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    if any(key.startswith("space.") for key in keys):
        return f"another space: was {before.get('space.name')!r}, is {after.get('space.name')!r}"
    named = [f"{key} was {shown(before.get(key))}, is {shown(after.get(key))}" for key in keys[:SHOWN_DIFFERENCES]]
    more = f" and {len(keys) - SHOWN_DIFFERENCES} more" if len(keys) > SHOWN_DIFFERENCES else ""
    return "; ".join(named) + more


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
