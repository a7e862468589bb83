"""Searches of a workspace read back, finished or not: what each chose, and which of them may be compared."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from litepose_ofa.search.accuracy.evaluators import Source, identity_digest
from litepose_ofa.search.study.results import CHOSEN_FILE, FRONT_FILE, PROGRESS_FILE, SearchOutcome
from litepose_ofa.search.workspace import RUN_RECORD, Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.bundle import ARCH_FILE, MANIFEST_FILE, open_export
from litepose_ofa.supernet.files import read_json, require_regular

FRONT_NUMBERS = ("ap", "latency_ms", "latency_low_ms", "latency_high_ms", "macs", "params", "image_size")
FRONT_WORDS = ("arch_digest", "ap_source", "verified_ap", "latency_provenance", "genome")
"""What a report needs of a front; all but the genome also of the chosen subnet."""

CHOSEN_KEYS = (*FRONT_NUMBERS, *FRONT_WORDS[:-1], "table", "budget_ms", "search")


MEASURED: Source = "supernet"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a report has to do without, and why."""

    device: str
    tier: str
    reason: str


@dataclass(frozen=True)
class FinishedSearch:
    """A finished search of a workspace for one device and tier, with what it chose and its ``front.csv``."""

    workspace: Path
    device: str
    tier: str
    outcome: SearchOutcome
    front: pd.DataFrame

    @classmethod
    def load(cls, workspace: Path, cell: tuple[str, str]) -> Self:
        """Read the files of a search, given its device and tier; refuse what is missing, damaged or incomplete."""
        folder = Workspace(workspace).search(*cell)
        try:
            outcome = SearchOutcome.load(folder)
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{folder / CHOSEN_FILE}: holds no choice of a search; search again") from None
        for key in CHOSEN_KEYS:
            if key not in outcome.record:
                raise InputError(f"{folder / CHOSEN_FILE}: lacks the key {key!r}; search again")
        front = read_table(folder / FRONT_FILE, FRONT_WORDS, numbers=FRONT_NUMBERS)
        _require_source(folder / FRONT_FILE, front, outcome.record["ap_source"])
        return cls(workspace, *cell, outcome, front)

    @property
    def record(self) -> Mapping[str, Any]:
        """The chosen subnet's numbers, and ``search``."""
        return self.outcome.record

    @property
    def search(self) -> dict[str, Any]:
        """All that the search depended on."""
        return dict(self.record["search"])

    @property
    def source(self) -> str:
        """Where the search's accuracies come from."""
        return str(self.record["ap_source"])

    @property
    def is_measured(self) -> bool:
        """Whether every evaluation was a measured subnet of a supernet."""
        return bool(self.search["evaluator"].get("evaluator") == MEASURED)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return SearchSpace.from_dict(self.search["space"])

    @property
    def num_keypoints(self) -> int:
        """K of the networks."""
        return int(self.search.get("num_keypoints", 14))

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the search, this one or several, in the order of the study's latencies."""
        return tuple(self.search.get("devices", (self.device,)))

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers of the search, this one or several."""
        budgets = self.search.get("devices", {}).get(self.device, {}).get("budget_ms")
        return tuple(budgets) if isinstance(budgets, dict) else (self.tier,)

    @property
    def is_alone(self) -> bool:
        """Whether the search was for this device and tier alone."""
        return len(self.devices) * len(self.tiers) == 1

    @property
    def run_folder(self) -> Path:
        """Where the study is: a search for several devices or tiers has one folder for all of them."""
        return Workspace(self.workspace).search(self.devices, self.tiers)

    @property
    def decoding(self) -> Mapping[str, Any] | None:
        """The decoding cost that the latencies include, if any."""
        decoding: Mapping[str, Any] | None = self.search.get("devices", {}).get(self.device, {}).get("decoding")
        return decoding

    @cached_property
    def accuracy_digest(self) -> str:
        """Short hash of all that an accuracy depends on: space, keypoints, and supernet, predictor or surrogate."""
        return identity_digest({key: self.search.get(key) for key in ("space", "num_keypoints", "evaluator")})

    @cached_property
    def latency_digest(self) -> str:
        """Short hash of all that a latency depends on: device, table and decoding cost."""
        return identity_digest({"device": self.device, "table": self.search["table"], "decoding": self.decoding})

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The config that the search was started with, or nothing if it was not kept."""
        path = self.run_folder / RUN_RECORD
        match read_json(path) if path.exists() else {"config": {}}:
            case {"config": dict(settings)}:
                return settings
        raise InputError(f"{path}: has no config; remove the file, or search again")

    @property
    def dataset(self) -> str | None:
        """The dataset whose AP the accuracies are, if known."""
        if self.source in ("published-surrogate", "shipped-predictor"):
            return str(self.search["evaluator"]["dataset"])
        try:
            name: str | None = self.settings.get("dataset", {}).get("name")
        except InputError:  # without them the study cannot be read either, and that is said
            return None
        return name

    @property
    def progress(self) -> pd.DataFrame:
        """``progress.csv``; an ``InputError`` if it is missing or damaged."""
        path = self.run_folder / PROGRESS_FILE
        progress = read_table(path, ("ap_source",), numbers=("evaluations", "hypervolume"))
        _require_source(path, progress, MEASURED if self.is_measured else self.source)
        return progress

    @property
    def export_folder(self) -> Path:
        """Where the exported subnet is, if it is."""
        return Workspace(self.workspace).export(self.device, self.tier)

    @cached_property
    def manifest(self) -> Mapping[str, Any] | None:
        """The manifest of the exported subnet; None if there is none, it is damaged, or not of what was chosen here."""
        found = self._opened_export
        if isinstance(found, str):
            return None
        known = {self.record["arch_digest"], *self.front["arch_digest"]}
        is_ours = found.get("search") == self.record and found["arch_digest"] in known
        return found if is_ours else None

    @cached_property
    def arch(self) -> Arch:
        """The exported architecture, which finetuning may have preferred, or else the one that the search chose."""
        return self.outcome.arch if self.manifest is None else Arch.load(self.export_folder / ARCH_FILE)

    def export_gap(self) -> Missing | None:
        """Return what is wrong with the export; a surrogate's choice has no weights to export."""
        if self.manifest is not None or self.source == "published-surrogate":
            return None
        if not (self.export_folder / MANIFEST_FILE).exists():
            reason = "not exported, so no held-out AP; litepose export makes one"
        elif isinstance(self._opened_export, str):
            reason = f"the export is left out: {self._opened_export}"
        else:
            reason = "the export is not what the search chose last; run litepose export again"
        return Missing(self.device, self.tier, reason)

    @cached_property
    def _opened_export(self) -> Mapping[str, Any] | str:
        """The manifest of the export folder, or what is wrong with the folder."""
        try:
            return open_export(self.export_folder).record
        except InputError as error:
            return str(error)


def read_searches(
    workspace: Path, planned: Iterable[tuple[str, str]] = ()
) -> tuple[list[FinishedSearch], list[Missing]]:
    """Return the finished searches, budgets of each device ascending, and what is missing beside them.

    A search that was refused, and so never began, is not missing.

    Raises:
        InputError: If no search is finished.
    """
    found, gaps = list[FinishedSearch](), list[Missing]()
    for device, tier, path in Workspace(workspace).searches():
        cell = device, tier
        if (path / CHOSEN_FILE).exists():
            try:
                found.append(FinishedSearch.load(workspace, cell))
            except InputError as error:
                gaps.append(Missing(*cell, f"left out: {error}"))
        elif (path / RUN_RECORD).exists():
            cells = itertools.product(device.split("+"), tier.split("+"))  # a search for several writes theirs
            if not all((Workspace(workspace).search(*each) / CHOSEN_FILE).exists() for each in cells):
                gaps.append(Missing(*cell, "not searched to the end; the same litepose search goes on"))
    seen = {*((cell.device, cell.tier) for cell in found), *((gap.device, gap.tier) for gap in gaps)}
    gaps += [Missing(*cell, "not searched; run litepose search") for cell in planned if cell not in seen]
    if not found:
        raise InputError(f"{workspace}: no search that has ended; run litepose search first")
    return sorted(found, key=lambda cell: (cell.device, cell.record["budget_ms"], cell.tier)), gaps


def comparable(cells: Sequence[FinishedSearch]) -> list[list[FinishedSearch]]:
    """Return the searches in groups whose accuracies may be compared: of one space, and by one evaluator."""
    groups: dict[str, list[FinishedSearch]] = {}
    for cell in cells:
        groups.setdefault(cell.accuracy_digest, []).append(cell)
    return list(groups.values())


def group_name(cells: Sequence[FinishedSearch]) -> str:
    """Return a name for a group of ``comparable``: its space, where its accuracies come from, and a short hash."""
    first = cells[0]
    return f"{first.search['space']['name']}-{first.source}-{first.accuracy_digest[:6]}"


def read_table(path: Path, columns: Sequence[str], *, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file; refuse one without all these columns, or a finite number in every line of ``numbers``."""
    require_regular(path)
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; search again") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: is no CSV ({' '.join(str(error).split())})") from None
    for column in (*columns, *numbers):
        if column not in table.columns:
            raise InputError(f"{path}: lacks the column {column!r}; search again")
    for column in numbers:
        if table.empty or not np.isfinite(pd.to_numeric(table[column], errors="coerce")).all():
            raise InputError(f"{path}: lacks a number in the column {column!r}; search again")
    return table


def _require_source(path: Path, table: pd.DataFrame, source: str) -> None:
    if not (table["ap_source"] == source).all():
        raise InputError(f"{path}: has accuracies of another source than the search's, {source}; search again")
