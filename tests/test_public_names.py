"""The names that users script against: importable, called as documented, each with an example that runs."""

import dataclasses
import doctest
import importlib
import inspect
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyEstimate, LatencyTable
from litepose_ofa.supernet.archs.complexity import Complexity
from litepose_ofa.supernet.archs.space import SearchSpace

NO_DEFAULT = inspect.Parameter.empty
ANY_DEFAULT = object()

PUBLIC: dict[str, dict[str, Any]] = {
    "litepose_ofa.supernet.archs.arch.Arch.from_dict": {"published": NO_DEFAULT},
    "litepose_ofa.supernet.archs.arch.Arch.to_dict": {"self": NO_DEFAULT},
    "litepose_ofa.supernet.archs.arch.Arch.load": {"path": NO_DEFAULT},
    "litepose_ofa.supernet.archs.arch.Arch.save": {"self": NO_DEFAULT, "path": NO_DEFAULT},
    "litepose_ofa.supernet.archs.space.SearchSpace.preset": {"name": NO_DEFAULT},
    "litepose_ofa.supernet.archs.space.SearchSpace.sample": {"self": NO_DEFAULT, "rng": NO_DEFAULT},
    "litepose_ofa.supernet.archs.space.SearchSpace.smallest": {"self": NO_DEFAULT},
    "litepose_ofa.supernet.archs.space.SearchSpace.largest": {"self": NO_DEFAULT},
    "litepose_ofa.supernet.archs.space.SearchSpace.contains": {"self": NO_DEFAULT, "arch": NO_DEFAULT},
    "litepose_ofa.supernet.network.litepose.LitePose": {"arch": NO_DEFAULT, "num_keypoints": 14},
    "litepose_ofa.supernet.network.litepose.LitePose.forward": {"self": NO_DEFAULT, "images": NO_DEFAULT},
    "litepose_ofa.supernet.network.elastic_litepose.LitePoseSupernet": {"space": NO_DEFAULT, "num_keypoints": 14},
    "litepose_ofa.supernet.network.elastic_litepose.LitePoseSupernet.forward": {
        "self": NO_DEFAULT,
        "images": NO_DEFAULT,
        "arch": NO_DEFAULT,
    },
    "litepose_ofa.supernet.network.extract.extract_subnet": {"supernet": NO_DEFAULT, "arch": NO_DEFAULT},
    "litepose_ofa.supernet.network.checkpoints.load_weights": {"model": NO_DEFAULT, "path": NO_DEFAULT},
    "litepose_ofa.supernet.archs.complexity.measure_complexity": {"arch": NO_DEFAULT, "num_keypoints": 14},
    "litepose_ofa.supernet.codec.decode_people": {"heatmaps": NO_DEFAULT, "tags": NO_DEFAULT, "refine": True},
    "litepose_ofa.supernet.evaluation.evaluate_keypoints": {
        "annotations_path": NO_DEFAULT,
        "predictions": NO_DEFAULT,
        "dataset": "coco",
    },
    "latency_tables.LatencyTable.load": {"name_or_path": NO_DEFAULT},
    "latency_tables.LatencyTable.estimate": {"self": NO_DEFAULT, "arch": NO_DEFAULT},
    "litepose_ofa.search.genome.GenomeCodec": {"space": NO_DEFAULT},
    "litepose_ofa.search.genome.GenomeCodec.encode": {"self": NO_DEFAULT, "arch": NO_DEFAULT},
    "litepose_ofa.search.genome.GenomeCodec.decode": {"self": NO_DEFAULT, "genome": NO_DEFAULT},
    "litepose_ofa.search.genome.GenomeCodec.sample": {"self": NO_DEFAULT, "n": NO_DEFAULT, "rng": NO_DEFAULT},
    "litepose_ofa.search.costs.model.CostModel": {"space": NO_DEFAULT, "tables": ANY_DEFAULT},
    "litepose_ofa.search.costs.model.CostModel.evaluate": {"self": NO_DEFAULT, "genomes": NO_DEFAULT},
    "litepose_ofa.search.costs.model.CostModel.fastest": {"self": NO_DEFAULT, "device": NO_DEFAULT},
}
"""Documented arguments in order, with their defaults; more arguments are fine if they have defaults."""

DOCUMENTED = (
    "litepose_ofa.supernet.archs.arch.Arch",
    "litepose_ofa.supernet.archs.space.SearchSpace",
    "litepose_ofa.supernet.network.litepose.LitePose",
    "litepose_ofa.supernet.network.elastic_litepose.LitePoseSupernet",
    "litepose_ofa.supernet.network.extract.extract_subnet",
    "litepose_ofa.supernet.network.checkpoints.load_weights",
    "litepose_ofa.supernet.archs.complexity.measure_complexity",
    "litepose_ofa.supernet.codec.decode_people",
    "litepose_ofa.supernet.evaluation.evaluate_keypoints",
    "latency_tables.LatencyTable",
    "litepose_ofa.search.genome.GenomeCodec",
    "litepose_ofa.search.costs.model.CostModel",
)


def resolve(dotted: str) -> Any:
    """Import the longest module of a dotted name, then follow attributes."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            value = getattr(value, attribute)
        return value
    raise AssertionError(f"{dotted} cannot be imported")


@pytest.mark.parametrize("name", PUBLIC)
def test_signatures_are_the_documented_ones(name: str) -> None:
    parameters = inspect.signature(resolve(name)).parameters
    documented = PUBLIC[name]
    assert list(parameters)[: len(documented)] == list(documented)
    for argument, default in documented.items():
        if default is ANY_DEFAULT:
            assert parameters[argument].default is not NO_DEFAULT
        else:
            assert parameters[argument].default == default
    more = list(parameters.values())[len(documented) :]
    assert all(parameter.default is not NO_DEFAULT for parameter in more), more


def test_values_have_the_documented_attributes() -> None:
    names = [field.name for field in dataclasses.fields(Complexity)]
    assert names == ["macs", "macs_as_published", "params", "peak_activation_bytes"]
    names = [field.name for field in dataclasses.fields(LatencyEstimate)]
    assert names[:4] == ["ms", "low_ms", "high_ms", "provenance"]
    assert LatencyTable.load("raspberry_pi_4b").metadata.provenance == "calibrated-estimate"
    assert SearchSpace.preset("litepose_released").size == 245_760


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(resolve(name)) or "")


@pytest.mark.parametrize("name", sorted({resolve(name).__module__ for name in DOCUMENTED}))
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
