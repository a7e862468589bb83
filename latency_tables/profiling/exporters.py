"""Write a kit's models in the formats of the runtimes.

The Android backend follows benchmark_model's sources, the TensorRT one trtexec's and recorded reports of TensorRT 7 to
10; neither has met a device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from litepose_ofa.latency_tables.profiling.subjects import Subject, build_graph
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.litert import require_litert
from litepose_ofa.supernet.export.ncnn import convert_to_ncnn, find_pnnx
from litepose_ofa.supernet.export.onnx_model import save_onnx
from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite


@dataclass(frozen=True)
class Exporter:
    """How models are written for one runtime.

    Attributes:
        backend: File name of the runtime's backend in the ``board`` folder.
        export: Writes a model, given the path of its files without the suffix, and returns the files in the order in
            which the backend's ``load`` takes them; the folder exists.
        require: Raises ``InputError`` if a package that the export needs is not installed.
    """

    backend: str
    export: Callable[[Subject, Path], list[Path]]
    require: Callable[[str], object] = lambda reader: None


def _export_onnx(subject: Subject, stem: Path) -> list[Path]:
    path = stem.with_name(f"{stem.name}.onnx")
    save_onnx(path, build_graph(subject, deconvs="merged"))
    return [path]


def _export_tflite(subject: Subject, stem: Path) -> list[Path]:
    path = stem.with_name(f"{stem.name}.tflite")
    path.write_bytes(translate_to_tflite(build_graph(subject)))
    return [path]


def _export_ncnn(subject: Subject, stem: Path) -> list[Path]:
    names = convert_to_ncnn(build_graph(subject)).write(stem.parent, stem.name)
    return [stem.with_name(name) for name in names]


EXPORTERS = {
    "android": Exporter("backend_adb.py", _export_tflite, require_litert),
    "litert": Exporter("backend_litert.py", _export_tflite, require_litert),
    "ncnn": Exporter("backend_ncnn.py", _export_ncnn, find_pnnx),
    "onnxruntime": Exporter("backend_onnxruntime.py", _export_onnx),
    "tensorrt": Exporter("backend_trtexec.py", _export_onnx),
}
"""By name of the runtime."""


def find_exporter(runtime: str) -> Exporter:
    """Return the exporter of a runtime.

    Raises:
        InputError: If the runtime is unknown, or a package that its exporter needs is not installed.
    """
    if runtime not in EXPORTERS:
        raise InputError(f"unknown runtime {runtime!r}; known: {', '.join(EXPORTERS)}")
    exporter = EXPORTERS[runtime]
    exporter.require(f"runtime {runtime}")
    return exporter
