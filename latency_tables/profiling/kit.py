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
from pathlib import Path

from litepose_ofa.latency_tables.profiling.exporters import find_exporter
from litepose_ofa.latency_tables.profiling.manifest import MANIFEST_FILE, Manifest, ModelFiles
from litepose_ofa.latency_tables.profiling.plan import ProfilingPlan
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing_folder, write_json

BOARD_DIR = Path(__file__).parent / "board"
BOARD_FILES = ("profile_board.py", "measurement_file.py", "sensors.py")
MODELS_DIR = "models"
MEASUREMENTS_FILE = "measurements.csv"


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
