"""Importances against closed forms: additive and multiplicative quantities, directions, choices that are none."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.reporting.importance import (
    METHOD,
    ChoiceImportance,
    choice_genes,
    choice_importances,
    importance_table,
)
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


def test_of_a_sum_every_share_is_the_terms_share_of_the_variance(codec: GenomeCodec) -> None:
    found = choice_importances(codec, additive(codec), np.random.default_rng(0), n=4000)
    counts = {name: codec.cardinalities[choice_genes(codec)[name][0]] for name in WEIGHTS}
    variances = {name: weight**2 * (counts[name] ** 2 - 1) / 12 for name, weight in WEIGHTS.items()}
    for name, choice in found.items():
        expected = variances.get(name, 0) / sum(variances.values())
        assert choice.share == pytest.approx(expected, abs=4 * choice.error + 0.01 * expected)
        assert choice.direction == np.sign(WEIGHTS.get(name, 0))
        assert choice.error < 0.03


def test_the_shares_of_a_product_count_the_interaction_twice(codec: GenomeCodec) -> None:
    def product(genomes: Genomes) -> NDArray[np.float64]:
        first, second = genomes[:, 0].astype(float), genomes[:, codec.deconvs[0]].astype(float)
        value: NDArray[np.float64] = (first - 2) * (second - (codec.cardinalities[codec.deconvs[0]] - 1) / 2)
        return value

    found = choice_importances(codec, product, np.random.default_rng(1), n=4000)
    for name in ("resolution", "deconv 1"):
        assert found[name].share == pytest.approx(1, abs=4 * found[name].error)
        assert abs(found[name].direction) < 0.1


def test_a_dropped_block_has_no_share(codec: GenomeCodec) -> None:
    def shares_of(column: int) -> dict[str, ChoiceImportance]:
        return choice_importances(codec, lambda genomes: genomes[:, column].astype(float), np.random.default_rng(2))

    first, last = (shares_of(codec.stages[0].kernels[block]) for block in (0, -1))
    assert first["stage 1 depth"].share == 0, "the first block is always there"
    assert last["stage 1 depth"].share > 0.3
    assert (first["stage 1 kernels"].direction, last["stage 1 kernels"].direction) == pytest.approx((0.5, 0.5), abs=0.2)
    assert first["stage 1 kernels"].share == pytest.approx(1, abs=4 * first["stage 1 kernels"].error)


def test_macs_rise_with_every_choice_and_a_constant_has_no_importance(tiny_cost: CostModel) -> None:
    codec, rng = tiny_cost.codec, np.random.default_rng(0)
    macs = choice_importances(codec, lambda genomes: tiny_cost.evaluate(genomes)["macs"].astype(float), rng, n=300)
    of_blocks = {name for name in macs if name.endswith(("kernels", "expansions"))}
    assert all(choice.direction == 1 for name, choice in macs.items() if name not in of_blocks)
    assert all(macs[name].direction > 0.8 for name in of_blocks)
    assert max(macs, key=lambda name: macs[name].share) == "resolution"
    constant = choice_importances(codec, lambda genomes: np.full(len(genomes), 0.5), rng, n=50)
    assert all((choice.share, choice.error, choice.direction) == (0, 0, 0) for choice in constant.values())


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


def test_the_table_says_what_it_is(codec: GenomeCodec) -> None:
    found = choice_importances(codec, additive(codec), np.random.default_rng(0), n=100)
    table = importance_table({"AP": found, "latency_ms/board": found}, "published-surrogate")
    ap = table[table["quantity"] == "AP"]
    assert ap["choice"].iloc[0] == "resolution"
    assert ap["variance_share"].is_monotonic_decreasing
    assert set(ap["ap_source"]) == {"published-surrogate"}
    assert table.loc[table["quantity"] != "AP", "ap_source"].isna().all()
    assert set(table["method"]) == {METHOD}
