"""Workspaces with finished searches."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.accuracy.evaluators import Accuracy, Source
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.strategies.strategies import RandomStrategy
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.results import front_candidates, write_chosen, write_front, write_progress
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.files import read_json, write_json
from litepose_ofa.supernet.network.litepose import LitePose

SPACE = SearchSpace.preset("litepose_released")
BUDGETS_MS = {"jetson_nano": 140.0, "raspberry_pi_4b": 600.0}


class _Measured:
    """An evaluator whose measurements are a surrogate's."""

    source: Source = "supernet"

    def __init__(self, model: PublishedSurrogate, identity: Mapping[str, Any]) -> None:
        self.space = model.space
        self._model = model
        self._identity = identity

    def evaluate(self, archs: Sequence[Arch]) -> list[Accuracy]:
        return [Accuracy(each.ap, self.source) for each in self._model.evaluate(archs)]

    def describe(self) -> dict[str, Any]:
        return {"evaluator": self.source, **self._identity}


def _search(
    workspace: Path,
    *devices: str,
    tier: str = "m",
    model: Any = None,
    cost: CostModel | None = None,
    share: float = 1.0,
    verified: int = 0,
) -> None:
    """Leave what a search of a few random subnets leaves."""
    model = model or PublishedSurrogate(SPACE)
    cost = cost or CostModel(model.space, tables={name: LatencyTable.load(name) for name in devices})
    budgets = {name: share * BUDGETS_MS[name] for name in devices}
    problem = SearchProblem(cost, budgets)
    folder = workspace / "search" / "+".join(devices) / tier
    folder.mkdir(parents=True)
    sizes, stop = StudySettings(first=40, batch=20), StopRule(generations=1)
    generations = Generations(problem, RandomStrategy(problem), settings=sizes, stop=stop)
    name = f"{workspace.name}/search/{'+'.join(devices)}/{tier}"
    study = SearchStudy(generations, model, storage=folder / "study.log", name=name)
    run = study.run()
    write_progress(folder / "progress.csv", run.progress, model.source)
    write_json(folder / "run.json", {"config": {"storage": None, "dataset": {"name": "coco"}}})
    for name in devices:
        rows = problem.views(run.history)[problem.devices.index(name)].front
        source: Source = "predictor" if model.source == "supernet" else model.source
        front = front_candidates(problem, run.history.rows(rows), source, None, device=name)
        front[:verified] = [replace(each, verified_ap=each.accuracy.ap - 0.05) for each in front[:verified]]
        here = workspace / "search" / name / tier
        write_front(here / "front.csv", front)
        record = {
            "device": name, "table": name, "tier": tier, "budget_ms": budgets[name], "goal": "front",
            "evaluations": len(run.history), "stopped_by": run.stopped_by,
            "search": {**study.identity, "table": cost.tables[name].digest},
        }  # fmt: skip
        write_chosen(here / "chosen.json", front[0], record)


def _export(workspace: Path, device: str, tier: str, *, of: Arch | None = None, **changes: Any) -> None:
    """Leave what an export of the chosen subnet leaves, or of another that finetuning preferred."""
    chosen = read_json(workspace / "search" / device / tier / "chosen.json")
    arch = Arch.from_dict(chosen.pop("arch")) if of is None else of
    chosen.pop("arch", None)
    folder = workspace / "export" / device / tier
    facts = {
        "search": chosen, "finetuned": None, "accuracy": {"metrics": {"AP": 0.41}},
        "equal_to_supernet": {"bit_equal": True}, **changes,
    }  # fmt: skip
    images = np.zeros((0, 3, arch.image_size, arch.image_size), np.float32)
    write_bundle(folder, LitePose(arch), skeleton=CROWDPOSE, images=images, formats=(), facts=facts)


def _collect(cells: Sequence[FinishedSearch], gaps: Sequence[Missing] = (), **known: Any) -> Findings:
    return Findings.collect(cells, gaps, rng=np.random.default_rng(0), **known)


@pytest.fixture(scope="session")
def leave_search() -> Callable[..., None]:
    """Leave in a workspace what a search of a few random subnets leaves; see ``_search``."""
    return _search


@pytest.fixture(scope="session")
def leave_export() -> Callable[..., None]:
    """Leave in a workspace what an export leaves; see ``_export``."""
    return _export


@pytest.fixture(scope="session")
def collect() -> Callable[..., Findings]:
    """Collect the findings of cells; see ``_collect``."""
    return _collect


@pytest.fixture(scope="session")
def _surrogate_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("surrogate")
    for device in BUDGETS_MS:
        _search(workspace, device, tier="m")
        _search(workspace, device, tier="s", share=0.7)
    return workspace


@pytest.fixture
def workspace(_surrogate_workspace: Path, tmp_path: Path) -> Path:
    """Two devices, two tiers, by the published surrogate; a copy that the test may change."""
    return Path(shutil.copytree(_surrogate_workspace, tmp_path / "surrogate"))


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AccuracyPredictor]:
    """A workspace of a search of measured subnets, three of its front verified, and a predictor of them."""
    workspace = tmp_path_factory.mktemp("predicted")
    cost = CostModel(SPACE, tables={"jetson_nano": LatencyTable.load("jetson_nano")})
    genomes = cost.codec.sample(60, np.random.default_rng(3))
    surrogate, identity = PublishedSurrogate(SPACE), {"weights": "w", "split": "search"}
    predictor = AccuracyPredictor(SPACE, genomes, surrogate.predict_ap(genomes), identity=identity, kind="ridge")
    _search(workspace, "jetson_nano", model=_Measured(surrogate, identity), cost=cost, verified=3)
    return workspace, predictor
