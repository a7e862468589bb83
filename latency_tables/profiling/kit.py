"""Writing a profiling kit: models in a runtime's format, the manifest, and the scripts that run on the board.

A kit is a folder::

    kit.json              the manifest (``litepose_ofa.latency_tables.profiling.manifest``)
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

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

from litepose_ofa.latency_tables.profiling.manifest import MANIFEST_FILE, Manifest, ModelFiles
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.latency_tables.profiling.subjects import Subject
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing_folder, write_json

BOARD_DIR = Path(__file__).parent / "board"
BOARD_FILES = ("profile_board.py", "measurement_file.py", "sensors.py")
MODELS_DIR = "models"
MEASUREMENTS_FILE = "measurements.csv"


class Exporter(Protocol):
    """Writes models as one runtime reads them. Each module ``runtime_<name>`` makes one by ``build_exporter()``.

    Attributes:
        backend: File name of the runtime's backend in the ``board`` folder.
    """

    backend: str

    def export(self, subject: Subject, stem: Path) -> list[Path]:
        """Write one model.

        Args:
            subject: The model; ``litepose_ofa.latency_tables.profiling.modules.build_module`` makes it a torch module,
                ``litepose_ofa.latency_tables.profiling.graphs.build_graph`` an ONNX one, with equal weights.
            stem: Path of its files without the suffix; the folder exists.

        Returns:
            The files, in the order in which the backend's ``load`` takes them.
        """


def runtimes() -> list[str]:
    """Return the runtimes that a kit can be written for."""
    return sorted(path.stem.removeprefix("runtime_") for path in Path(__file__).parent.glob("runtime_*.py"))


def find_exporter(runtime: str) -> Exporter:
    """Return the exporter of a runtime.

    Raises:
        InputError: If the runtime is unknown, or a package that its exporter needs is not installed.
    """
    if runtime not in runtimes():
        raise InputError(f"unknown runtime {runtime!r}; known: {', '.join(runtimes())}")
    build: Callable[[], Exporter] = import_module(
        f"litepose_ofa.latency_tables.profiling.runtime_{runtime}"
    ).build_exporter
    return build()


def write_kit(
    folder: Path,
    plan: ProfilingPlan,
    exporter: Exporter,
    *,
    runtime: str,
    on_progress: Callable[[], object] = lambda: None,
) -> Manifest:
    """Write a kit, whole or not at all.

    Args:
        folder: Where to; must not exist, or be empty, for measurements may lie in an old kit.
        plan: What to time.
        exporter: Writes the models.
        runtime: Its name, for the manifest.
        on_progress: Called after every model.

    Raises:
        InputError: If the folder holds something.
    """
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
