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

What the user can mend it raises as ``measurement_file.RefusedError``, with one line for a message.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from litepose_ofa.latency_tables.profiling.exporters import find_exporter
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.latency_tables.profiling.subjects import subject_from_dict, subject_to_dict
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import read_json, replacing_folder, write_json

BOARD_DIR = Path(__file__).parent / "board"
BOARD_FILES = ("profile_board.py", "measurement_file.py", "sensors.py")
MANIFEST_FILE = "kit.json"
MEASUREMENTS_FILE = "measurements.csv"
FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a kit's ``kit.json`` holds.

    Attributes:
        backend: Module on the board that calls it.
        files: Files of each of the plan's subjects, paths from the kit's folder.
    """

    plan: ProfilingPlan
    runtime: str
    backend: str
    files: tuple[tuple[str, ...], ...]

    @property
    def kit(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the rest: what ties measurements to their kit."""
        return str(self.to_dict()["kit"])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest from its file, or from the kit's folder.

        Raises:
            InputError: If it is missing, or is not what the kit's writer wrote; the message names the file.
        """
        path = path / MANIFEST_FILE if path.is_dir() else path
        value = read_json(path)
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT:
            raise InputError(f"{path}: is not a kit's manifest: format is {shown(found)}; this program reads {FORMAT}")
        if value != _identified(value):
            raise InputError(f"{path}: was changed after the kit was written; write the kit again")
        subjects = {entry["id"]: subject_from_dict(entry) for entry in value["models"]}
        plan = ProfilingPlan(
            spaces=tuple(value["spaces"]),
            num_keypoints=tuple(value["num_keypoints"]),
            operators=value["operators"],
            probe=subjects[value["probe"]],
            subjects=tuple(subjects.values()),
        )
        files = tuple(tuple(entry["files"]) for entry in value["models"])
        return cls(plan=plan, runtime=value["runtime"], backend=value["backend"], files=files)

    def to_dict(self) -> dict[str, Any]:
        """Return the file's content."""
        plan = self.plan
        models = [
            {
                "id": subject.id,
                "files": list(files),
                "input_shapes": [list(shape) for shape in subject.input_shapes],
                **subject_to_dict(subject),
            }
            for subject, files in zip(plan.subjects, self.files, strict=True)
        ]
        content = {
            "format": FORMAT,
            "runtime": self.runtime,
            "backend": self.backend,
            "spaces": list(plan.spaces),
            "num_keypoints": list(plan.num_keypoints),
            "operators": plan.operators,
            "probe": plan.probe.id,
            "models": models,
        }
        return _identified(content)


def _identified(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's content with the kit that it is of, told by all the rest."""
    rest = {key: value for key, value in content.items() if key != "kit"}
    return {"kit": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12], **rest}


def write_kit(
    folder: Path, plan: ProfilingPlan, runtime: str, *, on_progress: Callable[[], object] = lambda: None
) -> Manifest:
    """Write a kit, whole or not at all, for the runtime of an exporter; ``on_progress`` is called after every model.

    Raises:
        InputError: If the folder holds something, which may be an old kit's measurements, or the runtime is unknown or
            not installed.
    """
    exporter = find_exporter(runtime)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; a kit is written into a new folder")
    with replacing_folder(folder) as temporary:
        (temporary / "models").mkdir()
        files = []
        for subject in plan.subjects:
            paths = exporter.export(subject, temporary / "models" / subject.id)
            files.append(tuple(path.relative_to(temporary).as_posix() for path in paths))
            on_progress()
        for name in (*BOARD_FILES, exporter.backend):
            shutil.copy(BOARD_DIR / name, temporary / name)
        manifest = Manifest(plan=plan, runtime=runtime, backend=Path(exporter.backend).stem, files=tuple(files))
        write_json(temporary / MANIFEST_FILE, manifest.to_dict())
    return manifest
