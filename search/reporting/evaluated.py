"""The subnets that a finished search evaluated, and the latencies that it counted with.

Legend: n subnets, G genes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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

DEVICE = "device"


@dataclass(frozen=True)
class DeviceLatency:
    """Latencies of any architecture on a device.

    Attributes:
        table: The device's table.
        decoding: What a frame costs beyond its network, where the latencies are a frame's.
        people: People in such a frame.
    """

    table: LatencyTable
    decoding: DecodingCost | None = None
    people: float = 5

    @classmethod
    def load(cls, table: str, digest: str, decoding: Mapping[str, Any] | None = None) -> Self:
        """Load what a search used.

        Raises:
            InputError: If one of them is gone, or has changed since.
        """
        loaded = LatencyTable.load(table)
        if loaded.digest != digest:
            raise InputError(f"latency table {table} has changed since the search")
        if decoding is None:
            return cls(loaded)
        cost = DecodingCost.load(decoding["measured_on"])
        if cost.digest != decoding["digest"]:
            raise InputError(f"decoding cost {decoding['measured_on']} is not the one that the search used")
        return cls(loaded, cost, decoding["people"])

    def cost_model(self, space: SearchSpace, num_keypoints: int = 14) -> CostModel:
        """Return the costs of a space's genomes; its one device is called ``DEVICE``.

        Raises:
            InputError: If the table lacks an operator of the space.
        """
        decoding = {} if self.decoding is None else {DEVICE: self.decoding}
        return CostModel(
            space, tables={DEVICE: self.table}, num_keypoints=num_keypoints, decoding=decoding, people=self.people
        )

    def ms(self, archs: Iterable[Arch], num_keypoints: int = 14) -> NDArray[np.float64]:
        """Return the latencies of n architectures in ms, shape (n,).

        Raises:
            InputError: If the table lacks an operator, or the decoding cost an image size.
        """
        return np.array([self._ms(arch, num_keypoints) for arch in archs], np.float64)

    def _ms(self, arch: Arch, num_keypoints: int) -> float:
        decoding_ms = 0.0 if self.decoding is None else self.decoding.ms(arch.image_size, self.people)
        return self.table.estimate(arch, num_keypoints).ms + decoding_ms


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
    def of(cls, cell: FinishedSearch) -> Self:
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


def _trials(cell: FinishedSearch) -> list[FrozenTrial]:
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


def _find_study(cell: FinishedSearch, storage: BaseStorage) -> optuna.Study:
    identity = {key: value for key, value in cell.search.items() if key != "table"}
    names = [each.study_name for each in storage.get_all_studies() if each.user_attrs.get(IDENTITY_KEY) == identity]
    if not names:
        raise LookupError(identity)
    return optuna.load_study(study_name=names[0], storage=storage)
