"""Exports a kit's models for TensorRT: the ONNX files, of which the board's own ``trtexec`` builds the engines.

The backend was written after trtexec's sources and recorded reports of TensorRT 7 to 10; it has not met a board.
"""

from litepose_ofa.latency_tables.profiling.runtime_onnxruntime import OnnxRuntimeExporter


class TensorRtExporter(OnnxRuntimeExporter):
    """Writes one ``.onnx`` file a model, weights inside."""

    backend = "backend_trtexec.py"


def build_exporter() -> TensorRtExporter:
    """Return the exporter."""
    return TensorRtExporter()
