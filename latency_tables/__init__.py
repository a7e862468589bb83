"""Latency of an architecture on a device: tables of operators, estimated or measured, each with its uncertainty."""

from litepose_ofa.latency_tables.metadata import TableMetadata
from litepose_ofa.latency_tables.rows import OperatorLatency
from litepose_ofa.latency_tables.table import LatencyEstimate, LatencyTable

__all__ = ["LatencyEstimate", "LatencyTable", "OperatorLatency", "TableMetadata"]
