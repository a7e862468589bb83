"""Writing a profiling kit: models in a runtime's format, the manifest, and the scripts that run on the board.

A kit is a folder::

    kit.json              the manifest (``Manifest``)
    models/               the models' files, as the runtime's exporter wrote them
    profile_board.py      times every model; needs Python 3.8, numpy and the runtime
    measurement_file.py   and
    sensors.py            which it imports
    backend_<runtime>.py  how this runtime is called

A backend is a module with these functions; those in brackets may lack::

    describe() -> dict                             runtime, runtime_version, precision, provider: texts; other facts
    load(paths, input_shapes, threads) -> model    model.run() runs it once, or
                                                   model.time_runs(warmups, runs, seconds) -> [ms, ...] where the
                                                   runtime times its own runs: until that many runs or seconds
    [read_sensors() -> dict]                       clock_mhz, temperature_c (None where unknown), throttled
    [configure(**options)]                         of the command line's --option name=value, before describe()
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from litepose_ofa.latency_tables.profiling.exporters import find_exporter
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.latency_tables.profiling.subjects import Subject, subject_from_dict
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import read_json, replacing_folder, write_json

BOARD_DIR = Path(__file__).parent / "board"
BOARD_FILES = ("profile_board.py", "measurement_file.py", "sensors.py")
MANIFEST_FILE = "kit.json"
MODELS_DIR = "models"
MEASUREMENTS_FILE = "measurements.csv"
FORMAT = 2


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model of a kit and its files, paths from the kit's folder."""

    subject: Subject
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a kit's ``kit.json`` holds.

    Attributes:
        runtime: Name of the runtime.
        backend: Module on the board that calls it.
        spaces: Names of the spaces whose operators are timed.
        num_keypoints: The K of the operators; the whole networks have the first.
        operators: Number of operators that the spaces need; more than are timed if the kit samples.
        probe: Id of the model that is timed again and again.
        models: All models.
    """

    runtime: str
    backend: str
    spaces: tuple[str, ...]
    num_keypoints: tuple[int, ...]
    operators: int
    probe: str
    models: tuple[ModelFiles, ...]

    @cached_property
    def kit(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the rest: what ties measurements to their kit."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest from its file, or from the kit's folder.

        Raises:
            InputError: If it is missing, or is not what the kit's writer wrote; the message names the file.
        """
        path = path / MANIFEST_FILE if path.is_dir() else path
        value = read_json(path)
        try:
            manifest = cls._from_dict(value)
        except (InputError, KeyError, TypeError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise InputError(f"{path}: is no kit's manifest ({what})") from None
        if manifest.to_dict() != value:
            raise InputError(f"{path}: was changed after the kit was written; write the kit again")
        return manifest

    @classmethod
    def _from_dict(cls, value: Any) -> Self:
        if value["format"] != FORMAT:
            raise InputError(f"format is {shown(value['format'])}; this program reads {FORMAT}")
        return cls(
            runtime=value["runtime"],
            backend=value["backend"],
            spaces=tuple(value["spaces"]),
            num_keypoints=tuple(value["num_keypoints"]),
            operators=value["operators"],
            probe=value["probe"],
            models=tuple(ModelFiles(subject_from_dict(model), tuple(model["files"])) for model in value["models"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the file's content."""
        return {"kit": self.kit, **self._content()}

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "runtime": self.runtime,
            "backend": self.backend,
            "spaces": list(self.spaces),
            "num_keypoints": list(self.num_keypoints),
            "operators": self.operators,
            "probe": self.probe,
            "models": [
                {
                    "id": model.subject.id,
                    "files": list(model.files),
                    "input_shapes": [list(shape) for shape in model.subject.input_shapes],
                    **model.subject.to_dict(),
                }
                for model in self.models
            ],
        }


def write_kit(
    folder: Path, plan: ProfilingPlan, runtime: str, *, on_progress: Callable[[], object] = lambda: None
) -> Manifest:
    """Write a kit, whole or not at all.

    Args:
        folder: Where to; must not exist, or be empty, for measurements may lie in an old kit.
        plan: What to time.
        runtime: Name of an exporter.
        on_progress: Called after every model.

    Raises:
        InputError: If the folder holds something, or the runtime is unknown or not installed.
    """
    exporter = find_exporter(runtime)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; a kit is written into a new folder")
    with replacing_folder(folder) as temporary:
        (temporary / MODELS_DIR).mkdir()
        models = []
        for subject in plan.subjects:
            paths = exporter.export(subject, temporary / MODELS_DIR / subject.id)
            models.append(ModelFiles(subject, tuple(path.relative_to(temporary).as_posix() for path in paths)))
            on_progress()
        for name in (*BOARD_FILES, exporter.backend):
            shutil.copy(BOARD_DIR / name, temporary / name)
        manifest = Manifest(
            runtime=runtime,
            backend=Path(exporter.backend).stem,
            spaces=plan.spaces,
            num_keypoints=plan.num_keypoints,
            operators=plan.operators,
            probe=plan.probe.id,
            models=tuple(models),
        )
        write_json(temporary / MANIFEST_FILE, manifest.to_dict())
    return manifest
