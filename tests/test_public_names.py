"""The names that users script against: importable, called as documented, each with an example that runs."""

import importlib
import inspect
from operator import attrgetter

import pytest

NO_DEFAULT = inspect.Parameter.empty

PUBLIC = {
    "litepose_ofa.supernet.archs.arch": {
        "Arch.from_dict": "published",
        "Arch.to_dict": "self",
        "Arch.load": "path",
        "Arch.save": "self, path",
    },
    "litepose_ofa.supernet.archs.space": {
        "SearchSpace.preset": "name",
        "SearchSpace.sample": "self, rng",
        "SearchSpace.smallest": "self",
        "SearchSpace.largest": "self",
        "SearchSpace.contains": "self, arch",
    },
    "litepose_ofa.supernet.network.litepose": {
        "LitePose": "arch, num_keypoints=14",
        "LitePose.forward": "self, images",
    },
    "litepose_ofa.supernet.network.elastic_litepose": {
        "LitePoseSupernet": "space, num_keypoints=14",
        "LitePoseSupernet.forward": "self, images, arch",
    },
    "litepose_ofa.supernet.network.extract": {"extract_subnet": "supernet, arch"},
    "litepose_ofa.supernet.network.checkpoints": {"load_weights": "model, path"},
    "litepose_ofa.supernet.archs.complexity": {"measure_complexity": "arch, num_keypoints=14"},
    "litepose_ofa.supernet.codec": {"decode_people": "heatmaps, tags, refine=True"},
    "litepose_ofa.supernet.evaluation": {"evaluate_keypoints": "annotations_path, predictions, dataset=coco"},
    "litepose_ofa.latency_tables": {"LatencyTable.load": "name_or_path", "LatencyTable.estimate": "self, arch"},
    "litepose_ofa.search.genome": {
        "GenomeCodec": "space",
        "GenomeCodec.encode": "self, arch",
        "GenomeCodec.decode": "self, genome",
        "GenomeCodec.sample": "self, n, rng",
    },
    "litepose_ofa.search.costs.model": {
        "CostModel": "space, tables=None",
        "CostModel.evaluate": "self, genomes",
        "CostModel.fastest": "self, device",
    },
}
"""Documented arguments in order, with their defaults; more arguments are fine if they have defaults."""

SIGNATURES = [(module, name, text) for module, names in PUBLIC.items() for name, text in names.items()]
DOCUMENTED = sorted({(module, name.partition(".")[0]) for module, name, _ in SIGNATURES})


@pytest.mark.parametrize(("module", "name", "documented"), SIGNATURES)
def test_signatures_are_the_documented_ones(module: str, name: str, documented: str) -> None:
    named = attrgetter(name)(importlib.import_module(module))
    found = list(inspect.signature(named).parameters.values())
    arguments = documented.split(", ")
    for parameter, argument in zip(found, arguments, strict=False):
        default = "" if parameter.default is NO_DEFAULT else f"={parameter.default}"
        assert f"{parameter.name}{default}" == argument
    assert all(parameter.default is not NO_DEFAULT for parameter in found[len(arguments) :])


@pytest.mark.parametrize(("module", "name"), DOCUMENTED)
def test_every_public_name_has_an_example(module: str, name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(importlib.import_module(module), name)) or "")
