"""Fixtures that every test may use."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.export import shipped
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.files import write_json
from litepose_ofa.supernet.network.checkpoints import save_network, weights_digest
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet

ROOT = Path(__file__).parents[1]
REFERENCE = Path(os.environ.get("LITEPOSE_REFERENCE", ROOT.parent / "shared"))
FIGURES = {"AP": 0.123, "AP50": 0.456, "AR50": 0.567}


@pytest.fixture(scope="session")
def reference_path() -> Callable[[str], Path]:
    """Find a reference file (golden values, public data), or skip the test with a reason."""

    def find(name: str) -> Path:
        path = REFERENCE / name
        if not path.exists():
            pytest.skip(f"reference file {name} is absent (LITEPOSE_REFERENCE names its folder)")
        return path

    return find


@pytest.fixture(scope="session")
def ship() -> ModuleType:
    """The module that builds the folder of shipped networks."""
    spec = importlib.util.spec_from_file_location("ship", ROOT / "benchmarks" / "data" / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shippable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace as one that ships, of random weights and made-up figures; to be read only."""
    workspace = Workspace(tmp_path_factory.mktemp("runs") / "small-lspet")
    space = SearchSpace.from_dict(yaml.safe_load((ROOT / "conf" / "space" / "small.yaml").read_text()))
    torch.manual_seed(0)
    supernet = LitePoseSupernet(space, 14).eval()
    info = {"dataset": "lspet", "images": 8500, "mixture": {"no_people": {"images": 900, "share": 0.1}}}
    save_network(workspace.supernet, supernet, info, skeleton=CROWDPOSE)
    cost, measured_on = CostModel(space), {"weights": weights_digest(supernet), "split": "search"}
    genomes = stratified_genomes(cost, 24, np.random.default_rng(0))
    ap = np.log(cost.evaluate(genomes)["macs"]) / 100  # any that rises
    AccuracyPredictor(space, genomes, ap, identity=measured_on, kind="ridge").save(workspace.predictor)
    tau = {"value": 0.9, "low": 0.8, "high": 1.0}
    quality = {"chosen": "ridge", "num_samples": 24, "regressors": {"ridge": {"held_out": {"kendall_tau": tau}}}}
    write_json(workspace.predictor_quality, quality)
    for arch in (space.smallest(), space.largest()):
        _evaluate(workspace, arch, measured_on["weights"])
    for tier, arch in zip(("xs", "s", "m", "l"), cost.codec.decode_many(genomes[-4:]), strict=True):
        subnet = extract_subnet(supernet, arch)
        latency = {"network": {"ms": 1.5, "provenance": "measured"}}
        facts: dict[str, Any] = {"latency": latency, "finetuned": None, "measured_on": {}}
        images = np.zeros((1, 3, 64, 64), np.float32)
        folder = workspace.export("host_cpu", tier)
        write_bundle(folder, subnet, skeleton=CROWDPOSE, images=images, formats=[], facts=facts)
        _evaluate(workspace, arch, weights_digest(subnet))
    return workspace.root


def _evaluate(workspace: Workspace, arch: Arch, weights: str) -> None:
    record = {
        "arch": arch.to_dict(),
        "metrics": FIGURES,
        "ap_interval": {"low": 0.111, "high": 0.134},
        "measured_on": {"weights": weights, "num_images": 1000},
        "run": {"config": {"dataset": {"name": "lspet"}}},
    }
    write_json(workspace.root / "evaluations" / f"{arch.digest}_{weights}_val.json", record)


@pytest.fixture(scope="session")
def _stand_in(ship: ModuleType, shippable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "shipped"
    ship.ship([shippable], folder)
    return folder


@pytest.fixture
def stand_in(_stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped networks in the place of the package's, with random weights; to be read only."""
    monkeypatch.setattr(shipped, "SHIPPED", _stand_in)
    return _stand_in


@pytest.fixture
def needs_compiler() -> None:
    """Skip the test where no C compiler is."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
