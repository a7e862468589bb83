"""Exports a kit's models for ONNX Runtime."""

from pathlib import Path

from litepose_ofa.latency_tables.profiling.graphs import build_graph
from litepose_ofa.latency_tables.profiling.subjects import Subject
from litepose_ofa.supernet.export.onnx_model import save_onnx


class OnnxRuntimeExporter:
    """Writes one ``.onnx`` file a model, weights inside."""

    backend = "backend_onnxruntime.py"

    def export(self, subject: Subject, stem: Path) -> list[Path]:
        """Write the ONNX graph of a model."""
        path = stem.with_name(f"{stem.name}.onnx")
        save_onnx(path, build_graph(subject, deconvs="merged"))
        return [path]


def build_exporter() -> OnnxRuntimeExporter:
    """Return the exporter."""
    return OnnxRuntimeExporter()
