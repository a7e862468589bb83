"""The subnets that finished searches evaluated, read back from their studies.

Legend: n subnets, G genes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from litepose_ofa.search.genome import Genomes, genome_keys
from litepose_ofa.search.reporting.searches import SearchedCell
from litepose_ofa.search.study.storages import JOURNAL_FILE, MEMORY
from litepose_ofa.search.study.study import IDENTITY_KEY
from litepose_ofa.search.study.trials import genome_of
from litepose_ofa.supernet.errors import InputError

SQLITE = "sqlite:///"

MOST_SHOWN = 200
"""Characters of a driver's message."""


@dataclass(frozen=True)
class EvaluatedSubnets:
    """Distinct subnets in the order they were evaluated.

    Attributes:
        genomes: Canonical, shape (n, G).
        ap: Their AP by the search's evaluator, shape (n,).
        latency_ms: Their latency on one device, shape (n,).
    """

    genomes: Genomes
    ap: NDArray[np.float64]
    latency_ms: NDArray[np.float64]

    @classmethod
    def of(cls, cell: SearchedCell) -> Self:
        """Read what a search evaluated, with the latency on the cell's device.

        Raises:
            InputError: If its study is gone or empty, or was kept in memory.
        """
        trials = _trials(cell)
        values = np.array([trial.values for trial in trials]).reshape(len(trials), 1 + len(cell.devices))
        return cls(
            np.array([genome_of(trial) for trial in trials], np.int8),
            values[:, 0],
            values[:, 1 + cell.devices.index(cell.device)],
        )

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the subnets of several searches, each once, as the first of them has it."""
        genomes = np.concatenate([part.genomes for part in parts])
        rows = np.sort(np.unique(genome_keys(genomes), return_index=True)[1])
        return cls(
            genomes[rows],
            np.concatenate([part.ap for part in parts])[rows],
            np.concatenate([part.latency_ms for part in parts])[rows],
        )


def _trials(cell: SearchedCell) -> list[FrozenTrial]:
    """Return the trials of a search; its study is only read, so that it may be in use."""
    where = f"{cell.run_folder}: its study"
    location = cell.settings.get("storage") or str(cell.run_folder / JOURNAL_FILE)
    if location == MEMORY:
        raise InputError(f"{where} was kept in memory, and is gone")
    is_sqlite = location.startswith(SQLITE)
    file = location.removeprefix(SQLITE).partition("?")[0] if is_sqlite else location
    if "://" not in file and not Path(file).exists():  # opening it would make it
        raise InputError(f"{where} is gone ({file})")
    try:
        with _opened(location) as storage:
            trials = _find_study(cell, storage).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    except LookupError:
        raise InputError(f"{where} is not in its storage, or of another search by now") from None
    except Exception as error:  # every driver has its own, and a report can do without the study
        raise InputError(f"{where} cannot be read ({' '.join(str(error).split())[:MOST_SHOWN]})") from None
    if not trials:
        raise InputError(f"{where} has no evaluated subnet: it was begun anew")
    return trials


@contextmanager
def _opened(location: str) -> Iterator[BaseStorage]:
    if "://" not in location:
        yield JournalStorage(JournalFileBackend(location))
        return
    storage = RDBStorage(location)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _find_study(cell: SearchedCell, storage: BaseStorage) -> optuna.Study:
    identity = {key: value for key, value in cell.search.items() if key != "table"}
    names = [each.study_name for each in storage.get_all_studies() if each.user_attrs.get(IDENTITY_KEY) == identity]
    if not names:
        raise LookupError(identity)
    return optuna.load_study(study_name=names[0], storage=storage)
