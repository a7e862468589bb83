"""Exports a kit's models for an Android phone that a computer drives through adb: LiteRT's files.

The backend was written after benchmark_model's sources and recorded reports; it has not met a phone.
"""

from litepose_ofa.latency_tables.profiling import runtime_litert
from litepose_ofa.latency_tables.profiling.runtime_litert import LiteRtExporter


def build_exporter() -> LiteRtExporter:
    """Return the exporter.

    Raises:
        InputError: If LiteRT is not installed.
    """
    return runtime_litert.build_exporter("android", "backend_adb.py")
