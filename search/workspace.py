"""Where the files of a job are, below one folder: each path is written here alone."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from litepose_ofa.supernet.errors import InputError, require, shown
from litepose_ofa.supernet.files import replacing

SUPERNET_FILE = "supernet.safetensors"
SUBNET_FILE = "subnet.safetensors"
METRICS_FILE = "metrics.jsonl"
RUN_RECORD = "run.json"
SWEEP_RECORD = "multirun.yaml"

PLAIN_NAME = re.compile(r"\w[\w.+=-]{0,99}")
NAME_WORDS = "a name of up to 100 letters, digits, _ and, but not first, . + = -"
PATH_WORDS = "a path"


class Workspace:
    """A job's folder: one space, one dataset, one supernet, any number of searches.

    The folder of a run is ``<root>/<run_folder>``, as ``conf`` has it.

    Attributes:
        supernet: The trained supernet.
        training_metrics: The losses and accuracies of its training, one JSON a line.
        accuracies: Every measured accuracy, of use to all searches.
        samples: The measured subnets that the predictor is fitted to.
        predictor: The accuracy predictor.
        predictor_quality: How well it ranks subnets that it has not seen.
        sensitivity: AP and latency along each dimension of the space.
        rank_fidelity: Accuracies in the supernet beside those of networks trained alone.
        table_validations: The folder with a ``<table>.json`` for each latency table compared with whole networks.
        sweep_record: Hydra's record of the last sweep.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.supernet = root / "supernet" / SUPERNET_FILE
        self.training_metrics = self.supernet.with_name(METRICS_FILE)
        self.accuracies = root / "accuracies" / "accuracies.jsonl"
        self.samples = self.accuracies.with_name("samples.json")
        self.predictor = root / "predictor" / "predictor.safetensors"
        self.predictor_quality = self.predictor.with_name("quality.json")
        self.sensitivity = root / "sensitivity" / "sensitivity.csv"
        self.rank_fidelity = root / "rank_fidelity" / "rank_fidelity.json"
        self.table_validations = root / "latency_tables"
        self.sweep_record = root / SWEEP_RECORD

    def search(self, devices: str | Iterable[str], tiers: str | Iterable[str], goal: str = "front") -> Path:
        """Return the folder of a search: for one device and tier, or for several in one study."""
        return self.root / "search" / joined(devices) / tier_folder(joined(tiers), goal)

    def searches(self) -> Iterator[tuple[str, str, Path]]:
        """Yield device and tier (or several, joined by ``+``) and the folder of every search that was begun."""
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


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV through a temporary name; what is None is empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def joined(names: str | Iterable[str]) -> str:
    """Return one name, or several joined by ``+``."""
    return names if isinstance(names, str) else "+".join(names)


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
