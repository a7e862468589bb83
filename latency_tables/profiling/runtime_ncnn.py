"""Exports a kit's models for ncnn, through pnnx."""

from pathlib import Path

from litepose_ofa.latency_tables.profiling.graphs import build_graph
from litepose_ofa.latency_tables.profiling.subjects import Subject
from litepose_ofa.supernet.export.ncnn import convert_to_ncnn, find_pnnx


class NcnnExporter:
    """Writes a ``.param`` and a ``.bin`` file a model, weights in float32."""

    backend = "backend_ncnn.py"

    def export(self, subject: Subject, stem: Path) -> list[Path]:
        """Convert the ONNX graph of a model.

        Raises:
            RuntimeError: If pnnx does not know what to do with it.
        """
        names = convert_to_ncnn(build_graph(subject)).write(stem.parent, stem.name)
        return [stem.with_name(name) for name in names]


def build_exporter() -> NcnnExporter:
    """Return the exporter.

    Raises:
        InputError: If pnnx is not installed.
    """
    find_pnnx("runtime ncnn")
    return NcnnExporter()
