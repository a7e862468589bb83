"""How each runtime's models are written: one exporter a runtime, named in ``EXPORTERS``.

The Android and TensorRT backends were written after the sources and recorded reports of benchmark_model and of trtexec
(TensorRT 7 to 10); they have not met a phone or a Jetson.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from litepose_ofa.latency_tables.profiling.subjects import Subject, build_graph
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.conversion import convert_to_ncnn
from litepose_ofa.supernet.export.onnx_graph import save_onnx
from litepose_ofa.supernet.export.runners import import_optional
from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite


@dataclass(frozen=True, slots=True)
class Exporter:
    """Writes models as one runtime reads them, weights inside, float32.

    Attributes:
        backend: File name of the runtime's backend in the ``board`` folder.
        export: Writes a subject to files of a path without suffix; returns them in the order in which the backend's
            ``load`` takes them.
        needs: A package that it needs, and our extra that brings it.
    """

    backend: str
    export: Callable[[Subject, Path], list[Path]]
    needs: tuple[str, str] | None = None


def find_exporter(runtime: str) -> Exporter:
    """Return the exporter of a runtime.

    Raises:
        InputError: If the runtime is unknown, or a package that its exporter needs is not installed.
    """
    if runtime not in EXPORTERS:
        raise InputError(f"unknown runtime {runtime!r}; known: {', '.join(sorted(EXPORTERS))}")
    exporter = EXPORTERS[runtime]
    if exporter.needs is not None:
        package, extra = exporter.needs
        import_optional(package, f"runtime {runtime}", extra)
    return exporter


def _onnx(subject: Subject, stem: Path) -> list[Path]:
    path = stem.with_name(f"{stem.name}.onnx")
    save_onnx(path, build_graph(subject, deconvs="merged"))
    return [path]


def _tflite(subject: Subject, stem: Path) -> list[Path]:
    path = stem.with_name(f"{stem.name}.tflite")
    path.write_bytes(translate_to_tflite(build_graph(subject)))
    return [path]


def _ncnn(subject: Subject, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.ncnn.{suffix}") for suffix in ("param", "bin")]
    for path, content in zip(paths, convert_to_ncnn(build_graph(subject)), strict=True):
        path.write_bytes(content)
    return paths


EXPORTERS: dict[str, Exporter] = {
    "android": Exporter("backend_adb.py", _tflite, ("ai_edge_litert", "litert")),
    "litert": Exporter("backend_litert.py", _tflite, ("ai_edge_litert", "litert")),
    "ncnn": Exporter("backend_ncnn.py", _ncnn, ("pnnx", "ncnn")),
    "onnxruntime": Exporter("backend_onnxruntime.py", _onnx),
    "tensorrt": Exporter("backend_trtexec.py", _onnx),
}
