"""Spaces, latency tables and accuracies of known form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.latency_tables import LatencyTable, OperatorLatency, TableMetadata
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes, distinct
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """3,072 architectures with every kind of choice, stages of one block too: few enough to enumerate."""
    return SearchSpace(
        name="small",
        image_sizes=(64, 96),
        stem_channels=(8, 16),
        stages=(
            StageSpace((8, 16), (1, 2), (3, 7), (2,)),
            StageSpace((16,), (1,), (3,), (2, 4)),
            StageSpace((16, 24), (2,), (5,), (2, 4)),
            StageSpace((24,), (1,), (3,), (3,)),
        ),
        deconv_channels=((8, 16), (8,), (8, 16)),
    )


def operator_latency(operator: Operator, ms_per_mac: float = 1e-7) -> OperatorLatency:
    """A latency that depends on every field of the operator and is not monotone in its size."""
    ripple = np.sin(operator.in_channels + 3 * operator.out_channels + operator.kernel + operator.expansion)
    return OperatorLatency(0.05 + ms_per_mac * operator.macs + 0.02 * float(ripple), 0.01 + 0.001 * operator.kernel, 5)


def formula_table(space: SearchSpace, num_keypoints: int = 14, *, ms_per_mac: float = 1e-7) -> LatencyTable:
    """A table of all operators of a space."""
    metadata = TableMetadata(
        device="board",
        processor="none",
        runtime="none 1.0",
        runtime_provenance="stated",
        threads=1,
        precision="fp32",
        clocks="fixed",
        date="2026-01-01",
        made_by="a formula",
        provenance="measured",
        network_constant_ms=0.4,
        network_constant_spread_ms=0.05,
        network_scale=1.1,
        network_residual=0.03,
        fit_errors={},
        validation_errors={},
        sources=(),
    )
    return LatencyTable(metadata, {o: operator_latency(o, ms_per_mac) for o in space_operators(space, num_keypoints)})


@pytest.fixture(scope="session")
def make_table() -> Callable[..., LatencyTable]:
    return formula_table


@pytest.fixture(scope="session")
def every_genome() -> Callable[[GenomeCodec], Genomes]:
    """Enumerates a small space."""

    def enumerate_genomes(codec: GenomeCodec) -> Genomes:
        grid = np.stack(np.meshgrid(*map(np.arange, codec.cardinalities), indexing="ij"), axis=-1)
        return distinct(codec.canonicalise(grid.reshape(-1, codec.length).astype(np.int8)))

    return enumerate_genomes


@pytest.fixture(scope="session")
def tiny_cost() -> CostModel:
    space = SearchSpace.preset("tiny")
    return CostModel(space, tables={"board": formula_table(space)})


@pytest.fixture(scope="session")
def small_cost(small_space: SearchSpace) -> CostModel:
    return CostModel(small_space, tables={"board": formula_table(small_space)})


Accuracies = Callable[[Genomes], NDArray[np.float64]]


@pytest.fixture(scope="session")
def tiny_ap(tiny_cost: CostModel) -> Accuracies:
    """A smooth AP in [0, 1]: grows with MACs and saturates, and likes large kernels early."""

    def ap(genomes: Genomes) -> NDArray[np.float64]:
        macs = np.log(tiny_cost.evaluate(genomes)["macs"] / 8e6)
        early_kernels = genomes[:, list(tiny_cost.codec.stages[0].kernels)].sum(axis=1)
        value: NDArray[np.float64] = 0.3 + 0.2 * np.tanh(macs) + 0.03 * early_kernels
        return value

    return ap


@pytest.fixture(scope="session")
def identity() -> dict[str, Any]:
    """What accuracies were measured on."""
    return {"weights": "abc", "split": "search", "bn": {"images": 128}, "std": (0.2, 0.3)}


@pytest.fixture(scope="session")
def predictor(tiny_cost: CostModel, tiny_ap: Accuracies, identity: dict[str, Any]) -> AccuracyPredictor:
    genomes = tiny_cost.codec.sample(60, np.random.default_rng(7))
    return AccuracyPredictor(tiny_cost.space, genomes, tiny_ap(genomes), identity=identity)


@pytest.fixture(scope="session")
def problem(tiny_cost: CostModel) -> SearchProblem:
    low, high = tiny_cost.fastest("board")[1], tiny_cost.slowest("board")[1]
    return SearchProblem(tiny_cost, {"board": (low + high) / 2})
