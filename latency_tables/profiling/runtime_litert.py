"""Exports a kit's models for LiteRT (TensorFlow Lite)."""

from pathlib import Path

from litepose_ofa.latency_tables.profiling.graphs import build_graph
from litepose_ofa.latency_tables.profiling.subjects import Subject
from litepose_ofa.supernet.export.litert import require_litert
from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite


class LiteRtExporter:
    """Writes one ``.tflite`` file a model, float32, weights inside, channels last.

    Args:
        backend: File name of the backend that runs the files.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def export(self, subject: Subject, stem: Path) -> list[Path]:
        """Write the flatbuffer of a model."""
        path = stem.with_name(f"{stem.name}.tflite")
        path.write_bytes(translate_to_tflite(build_graph(subject)))
        return [path]


def build_exporter(runtime: str = "litert", backend: str = "backend_litert.py") -> LiteRtExporter:
    """Return the exporter.

    Raises:
        InputError: If LiteRT is not installed.
    """
    require_litert(f"runtime {runtime}")
    return LiteRtExporter(backend)
