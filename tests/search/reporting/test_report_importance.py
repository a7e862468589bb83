"""Importances against closed forms: additive and multiplicative quantities, directions, choices that are none."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.reporting.importance import Quantity, choice_genes, choice_importances
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace

WEIGHTS = {"resolution": 3.0, "stage 2 width": -2.0, "stage 3 depth": 1.0, "deconv 1": 0.5}


@pytest.fixture(scope="module")
def codec() -> GenomeCodec:
    return GenomeCodec(SearchSpace.preset("litepose"))


def additive(codec: GenomeCodec) -> Callable[[Genomes], NDArray[np.float64]]:
    columns = choice_genes(codec)

    def quantity(genomes: Genomes) -> NDArray[np.float64]:
        value = np.zeros(len(genomes))
        for name, weight in WEIGHTS.items():
            value += weight * genomes[:, columns[name][0]]
        return value

    return quantity


def importances(codec: GenomeCodec, quantity: Quantity, seed: int, n: int) -> pd.DataFrame:
    return choice_importances(codec, quantity, np.random.default_rng(seed), n=n).set_index("choice")


def test_of_a_sum_every_share_is_the_terms_share_of_the_variance(codec: GenomeCodec) -> None:
    found = importances(codec, additive(codec), 0, 4000)
    counts = {name: codec.cardinalities[choice_genes(codec)[name][0]] for name in WEIGHTS}
    variances = {name: weight**2 * (counts[name] ** 2 - 1) / 12 for name, weight in WEIGHTS.items()}
    assert found.index[0] == "resolution"
    assert found["variance_share"].is_monotonic_decreasing
    for name, choice in found.iterrows():
        expected = variances.get(str(name), 0) / sum(variances.values())
        assert choice["variance_share"] == pytest.approx(expected, abs=4 * choice["standard_error"] + 0.01 * expected)
        assert choice["direction"] == np.sign(WEIGHTS.get(str(name), 0))
        assert choice["standard_error"] < 0.03


def test_the_standard_errors_are_those_of_the_estimates() -> None:
    """Shares of a sum, again and again: as often as a normal distribution says they are within 1 and 2 errors."""
    codec = GenomeCodec(SearchSpace.preset("litepose_released"))
    columns = [columns[0] for columns in choice_genes(codec).values()]
    spread = (codec.cardinalities[columns] ** 2 - 1) / 12
    weights = np.array([0.3, 0.1, 1.0, 0.6, 0.6, 0.2, 0.4, 0.2, 0.1])
    expected = dict(zip(choice_genes(codec), weights**2 * spread / (weights**2 @ spread), strict=True))
    away = []
    for seed in range(300):
        found = importances(codec, lambda genomes: genomes[:, columns] @ weights, seed, 256)
        away.append((found["variance_share"] - found.index.map(expected)) / found["standard_error"])
    for errors, share in ((1, 0.683), (2, 0.954)):
        assert np.mean(np.abs(away) <= errors) == pytest.approx(share, abs=0.025)


def test_the_shares_of_a_product_count_the_interaction_twice(codec: GenomeCodec) -> None:
    def product(genomes: Genomes) -> NDArray[np.float64]:
        first, second = genomes[:, 0].astype(float), genomes[:, codec.deconvs[0]].astype(float)
        value: NDArray[np.float64] = (first - 2) * (second - (codec.cardinalities[codec.deconvs[0]] - 1) / 2)
        return value

    found = importances(codec, product, 1, 4000).loc[["resolution", "deconv 1"]]
    assert ((found["variance_share"] - 1).abs() < 4 * found["standard_error"]).all()
    assert (found["direction"].abs() < 0.1).all()


def test_a_dropped_block_has_no_share(codec: GenomeCodec) -> None:
    def importances_of(column: int) -> pd.DataFrame:
        return importances(codec, lambda genomes: genomes[:, column].astype(float), 2, 1024)

    first, last = (importances_of(codec.stages[0].kernels[block]) for block in (0, -1))
    assert first.loc["stage 1 depth", "variance_share"] == 0, "the first block is always there"
    assert last.loc["stage 1 depth", "variance_share"] > 0.3
    kernels = first.loc["stage 1 kernels"]
    assert [kernels["direction"], last.loc["stage 1 kernels", "direction"]] == pytest.approx([0.5, 0.5], abs=0.2)
    assert kernels["variance_share"] == pytest.approx(1, abs=4 * kernels["standard_error"])


def test_macs_rise_with_every_choice_and_a_constant_has_no_importance(tiny_cost: CostModel) -> None:
    codec = tiny_cost.codec
    macs = importances(codec, lambda genomes: tiny_cost.evaluate(genomes)["macs"].astype(float), 0, 300)
    of_blocks = macs.index.str.endswith(("kernels", "expansions"))
    assert (macs.loc[~of_blocks, "direction"] == 1).all()
    assert (macs.loc[of_blocks, "direction"] > 0.8).all()
    assert macs.index[0] == "resolution"
    constant = importances(codec, lambda genomes: np.full(len(genomes), 0.5), 0, 50)
    assert (constant == 0).all(axis=None)


def test_choices_are_the_meaningful_ones() -> None:
    tiny = choice_genes(GenomeCodec(SearchSpace.preset("tiny")))
    assert "stem" not in tiny, "one width only"
    assert len(tiny) == 1 + 4 * 4 + 3
    released = choice_genes(GenomeCodec(SearchSpace.preset("litepose_released")))
    assert set(released) == {
        "resolution",
        "stem",
        *(f"stage {s} width" for s in range(1, 5)),
        "deconv 1",
        "deconv 2",
        "deconv 3",
    }


@pytest.mark.parametrize("name", PRESETS)
def test_every_gene_that_varies_belongs_to_one_choice(name: str) -> None:
    codec = GenomeCodec(SearchSpace.preset(name))
    columns = [column for columns in choice_genes(codec).values() for column in columns]
    assert sorted(columns) == np.flatnonzero(codec.cardinalities > 1).tolist()
    if name == "tiny":
        assert choice_genes(codec)["stage 4 kernels"] == list(codec.stages[3].kernels)
