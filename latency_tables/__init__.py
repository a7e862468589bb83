"""Latency of an architecture on a device: tables of operators, estimated or measured, each with its uncertainty."""

from latency_tables.metadata import TableMetadata
from latency_tables.rows import OperatorLatency
from latency_tables.table import LatencyEstimate, LatencyTable

__all__ = ["LatencyEstimate", "LatencyTable", "OperatorLatency", "TableMetadata"]
