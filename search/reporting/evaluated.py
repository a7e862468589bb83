"""The subnets that a finished search evaluated, and the latencies that it counted with.

Legend: n subnets, G genes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes, genome_keys
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.study.storages import JOURNAL_FILE, MEMORY
from litepose_ofa.search.study.study import IDENTITY_KEY
from litepose_ofa.search.study.trials import genome_of
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

SQLITE = "sqlite:///"

MOST_SHOWN = 200
"""Characters of a driver's message."""


def load_table(cell: FinishedSearch) -> LatencyTable:
    """Load the latency table of a search; refuse one that has changed since."""
    name = cell.record["table"]
    table = LatencyTable.load(name)
    if table.digest != cell.search["table"]:
        raise InputError(f"latency table {name} has changed since the search")
    return table


def load_decoding(cell: FinishedSearch) -> tuple[DecodingCost, float] | None:
    """Load the decoding cost that a search's latencies include, if any, and the people in a frame; refuse as above."""
    if cell.decoding is None:
        return None
    name = cell.decoding["measured_on"]
    cost = DecodingCost.load(name)
    if cost.digest != cell.decoding["digest"]:
        raise InputError(f"decoding cost {name} is not the one that the search used")
    return cost, cell.decoding["people"]


def device_latency(cell: FinishedSearch, space: SearchSpace) -> Callable[[Genomes], NDArray[np.float64]]:
    """Return a function from genomes of a space, shape (n, G), to their latencies in ms as the search counts, (n,).

    Raises:
        InputError: If the table or the decoding cost has changed, or lacks an operator or image size of the space.
    """
    tables, decoding = {cell.device: load_table(cell)}, load_decoding(cell)
    frame: dict[str, Any] = {} if decoding is None else {"decoding": {cell.device: decoding[0]}, "people": decoding[1]}
    cost = CostModel(space, tables=tables, num_keypoints=cell.num_keypoints, **frame)
    return lambda genomes: cost.latency_ms(genomes, cell.device)


def arch_latency_ms(cell: FinishedSearch, arch: Arch) -> float:
    """Return the latency of an architecture of any space as ``device_latency`` does."""
    decoding = load_decoding(cell)
    decoding_ms = 0.0 if decoding is None else decoding[0].ms(arch.image_size, decoding[1])
    return load_table(cell).estimate(arch, cell.num_keypoints).ms + decoding_ms


@dataclass(frozen=True)
class EvaluatedSubnets:
    """Distinct subnets in the order they were evaluated: canonical genomes, AP and latency on a device, shape (n,)."""

    genomes: Genomes
    ap: NDArray[np.float64]
    latency_ms: NDArray[np.float64]

    @classmethod
    def of(cls, cell: FinishedSearch) -> Self:
        """Read what a search evaluated; an ``InputError`` if its study is gone or empty, or was kept in memory."""
        trials = _trials(cell)
        values = np.array([trial.values for trial in trials]).reshape(len(trials), 1 + len(cell.devices))
        genomes = np.array([genome_of(trial) for trial in trials], np.int8)
        return cls(genomes, values[:, 0], values[:, 1 + cell.devices.index(cell.device)])

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the subnets of several searches, each once, as the first of them has it."""
        genomes = np.concatenate([part.genomes for part in parts])
        rows = np.sort(np.unique(genome_keys(genomes), return_index=True)[1])
        ap, latency_ms = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ap", "latency_ms"))
        return cls(genomes[rows], ap[rows], latency_ms[rows])


def _trials(cell: FinishedSearch) -> list[FrozenTrial]:
    """Return the trials of a search; its study is only read, so that it may be in use."""
    where = f"{cell.run_folder}: its study"
    location = cell.settings.get("storage") or str(cell.run_folder / JOURNAL_FILE)
    if location == MEMORY:
        raise InputError(f"{where} was kept in memory, and is gone")
    file = location.removeprefix(SQLITE).partition("?")[0] if location.startswith(SQLITE) else location
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


def _find_study(cell: FinishedSearch, storage: BaseStorage) -> optuna.Study:
    identity = {key: value for key, value in cell.search.items() if key != "table"}
    names = [each.study_name for each in storage.get_all_studies() if each.user_attrs.get(IDENTITY_KEY) == identity]
    if not names:
        raise LookupError(identity)
    return optuna.load_study(study_name=names[0], storage=storage)
