"""The prior of calibrations from a few networks is what the shipped tables differ by."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from litepose_ofa.latency_tables.few_shot import SLOPES


def test_the_slopes_are_those_between_shipped_tables() -> None:
    spec = spec_from_file_location("few_shot", Path(__file__).parents[2] / "benchmarks" / "data" / "few_shot.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.slopes() == pytest.approx(dict(SLOPES), abs=0.006)
