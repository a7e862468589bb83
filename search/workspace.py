"""Where the files of a job are, below one folder: each path is written here alone."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from litepose_ofa.supernet.errors import InputError, require, shown

SUPERNET_FILE = "supernet.safetensors"
SUBNET_FILE = "subnet.safetensors"
METRICS_FILE = "metrics.jsonl"
RUN_RECORD = "run.json"
SWEEP_RECORD = "multirun.yaml"
"""Hydra's own record of a sweep."""

PLAIN_NAME = re.compile(r"\w[\w.+=-]{0,99}")
NAME_WORDS = "a name of up to 100 letters, digits, _ and, but not first, . + = -"
PATH_WORDS = "a path"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A job's folder: one space, one dataset, one supernet, any number of searches.

    The folder of a run is ``<root>/<run_folder>``, as ``conf`` has it.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def supernet(self) -> Path:
        """The trained supernet."""
        return self.root / "supernet" / SUPERNET_FILE

    @property
    def training_metrics(self) -> Path:
        """The losses and accuracies of its training, one JSON a line."""
        return self.supernet.with_name(METRICS_FILE)

    @property
    def accuracies(self) -> Path:
        """Every measured accuracy, of use to all searches."""
        return self.root / "accuracies" / "accuracies.jsonl"

    @property
    def samples(self) -> Path:
        """The measured subnets that the predictor is fitted to."""
        return self.accuracies.with_name("samples.json")

    @property
    def predictor(self) -> Path:
        """The accuracy predictor."""
        return self.root / "predictor" / "predictor.safetensors"

    @property
    def predictor_quality(self) -> Path:
        """How well it ranks subnets that it has not seen."""
        return self.predictor.with_name("quality.json")

    @property
    def sensitivity(self) -> Path:
        """AP and latency along each dimension of the space."""
        return self.root / "sensitivity" / "sensitivity.csv"

    @property
    def rank_fidelity(self) -> Path:
        """Accuracies in the supernet beside those of networks trained alone."""
        return self.root / "rank_fidelity" / "rank_fidelity.json"

    @property
    def table_validations(self) -> Path:
        """The folder with a ``<table>.json`` for each latency table that was compared with whole networks."""
        return self.root / "latency_tables"

    @property
    def sweep_record(self) -> Path:
        """Hydra's record of the last sweep."""
        return self.root / SWEEP_RECORD

    def search(self, devices: str | Iterable[str], tier: str, goal: str = "front") -> Path:
        """Return the folder of a search: for one device, or for several in one study."""
        name = devices if isinstance(devices, str) else "+".join(devices)
        return self.root / "search" / name / tier_folder(tier, goal)

    def searches(self) -> Iterator[tuple[str, str, Path]]:
        """Yield device (or several, joined by ``+``), tier and folder of every search that was begun."""
        for folder in sorted((self.root / "search").glob("*/*/")):
            yield folder.parent.name, folder.name, folder

    def export(self, device: str, tier: str) -> Path:
        """Return the export folder of a device and tier, or of an architecture's digest in the tier's place."""
        return self.root / "export" / device / tier

    def finetuned(self, device: str, tier: str) -> Path:
        """Return the file of the finetuned network of a device and tier."""
        return self.root / "finetune" / device / tier / SUBNET_FILE

    def finetunings(self) -> list[Path]:
        """Return the metrics of every finetuning that was begun."""
        return sorted(self.root.glob(f"finetune/*/*/{METRICS_FILE}"))


def tier_folder(tier: str, goal: str) -> str:
    """Return the name of a tier's folder: one subnet for all devices is kept beside each device's own."""
    return f"{tier}-shared" if goal == "shared" else tier


def is_folder_name(text: str) -> bool:
    """Say whether a text names one folder, below another and no deeper."""
    return PLAIN_NAME.fullmatch(text) is not None


def is_path_text(text: str) -> bool:
    """Say whether a text can be a path."""
    return bool(text.strip()) and "\0" not in text


def folder_name(value: object, field: str) -> str:
    """Return the name of a folder; raise ``InputError`` naming the config key ``field`` if it is none."""
    require(isinstance(value, str | int) and is_folder_name(str(value)), field, value, NAME_WORDS)
    return str(value)


def folder_path(value: object, field: str) -> str:
    """Return the path of a folder; raise ``InputError`` naming the config key ``field`` if it is none."""
    if not isinstance(value, str | int) or isinstance(value, bool) or not is_path_text(str(value)):
        raise InputError(f"{field} is {'null' if value is None else shown(value)}; it must be {PATH_WORDS}")
    return str(value)
