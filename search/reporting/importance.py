"""Which choices drive AP and latency: how much of a quantity's variance over a space hangs on each choice.

Legend: n genomes, G genes.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.reporting.summary import AP_BY

NUM_GENOMES = 1024

METHOD = "total-order Sobol index over the whole space, every choice uniform"

Floats = NDArray[np.float64]
Quantity = Callable[[Genomes], Floats]
"""A number of each canonical genome, shape (n, G), as (n,)."""


@dataclass(frozen=True, slots=True)
class ChoiceImportance:
    """What one choice does to a quantity.

    Attributes:
        share: Share of the quantity's variance that is left, on average, where all choices but this one are fixed, in
            [0, 1]; as choices interact, the shares add up to 1 or more.
        error: Standard error of the share.
        direction: How much more often a larger choice (of a stage's blocks: a larger sum), all others equal, raises
            the quantity than lowers it: 1 where it always raises it, -1 where it always lowers it.
    """

    share: float
    error: float
    direction: float


def choice_importances(
    codec: GenomeCodec, quantity: Quantity, rng: np.random.Generator, *, n: int = NUM_GENOMES
) -> dict[str, ChoiceImportance]:
    """Return the importance of every choice of a space.

    A choice is one of ``choice_genes``. In n genomes it is drawn anew, all others kept; the share is half the mean
    square of what that changes, by the variance.

    Source: Jansen, Analysis of variance designs for model output (1999), the estimator of total effects.

    Args:
        codec: The codec of the space.
        quantity: AP by a model, or a latency.
        rng: Draws the genomes.
        n: Genomes a choice.

    Example:
        >>> cost = CostModel(SearchSpace.preset("tiny"))  # doctest: +SKIP
        >>> choice_importances(cost.codec, lambda genomes: cost.evaluate(genomes)["macs"], rng)  # doctest: +SKIP
    """
    genes, others = codec.random_genes(n, rng), codec.random_genes(n, rng)
    before = codec.canonicalise(genes)
    values = quantity(before)
    variance = max(float(values.var()), np.finfo(np.float64).tiny)
    found = {}
    for name, columns in choice_genes(codec).items():
        varied = genes.copy()
        varied[:, columns] = others[:, columns]
        after = codec.canonicalise(varied)
        change = quantity(after) - values
        squares = change**2 / (2 * variance)
        steps = (after[:, columns].astype(np.int64) - before[:, columns]).sum(axis=1)
        found[name] = ChoiceImportance(
            float(squares.mean()), float(squares.std() / np.sqrt(n)), _direction(steps, change)
        )
    return found


def choice_genes(codec: GenomeCodec) -> dict[str, list[int]]:
    """Return the columns of the genes of every choice, without those that leave no choice.

    Kernels and expansions are those of a stage's blocks together, as each block alone matters little.
    """
    columns: defaultdict[str, list[int]] = defaultdict(list)
    for column, name in enumerate(codec.names):
        if codec.cardinalities[column] > 1:
            columns[_choice(name)].append(column)
    return dict(columns)


def importance_table(importances: Mapping[str, Mapping[str, ChoiceImportance]], ap_source: str) -> pd.DataFrame:
    """Return one row a quantity and choice, the most important of each quantity first.

    Args:
        importances: By quantity, ``AP`` or ``latency_ms/<device>``, and choice.
        ap_source: Where the APs come from.
    """
    rows = [
        {
            "quantity": quantity,
            "ap_source": ap_source if quantity == "AP" else None,
            "choice": name,
            "variance_share": found.share,
            "standard_error": found.error,
            "direction": found.direction,
            "method": METHOD,
        }
        for quantity, by_choice in importances.items()
        for name, found in sorted(by_choice.items(), key=lambda item: -item[1].share)
    ]
    return pd.DataFrame(rows)


def quantity_title(quantity: str, source: str) -> str:
    """Return what to call a quantity of ``importance_table``, whose AP comes from a source."""
    return f"AP by the {AP_BY[source]}" if quantity == "AP" else f"latency on {quantity.removeprefix('latency_ms/')}"


def _choice(gene: str) -> str:
    """Return the choice that a gene belongs to: ``stage 1 kernels`` for ``stage0.block1.kernel``."""
    match gene.split("."):
        case ["image_size"]:
            return "resolution"
        case [stage, _, of_block]:
            words = [stage, f"{of_block}s"]
        case words:
            pass
    return re.sub(r"(?<=[a-z])\d+", lambda index: f" {int(index[0]) + 1}", " ".join(words))


def _direction(steps: NDArray[np.int64], change: Floats) -> float:
    """Return the mean agreement of signs among the genomes that changed; 0 where none did."""
    moved = (steps != 0) & (change != 0)
    return float((np.sign(steps[moved]) * np.sign(change[moved])).mean()) if moved.any() else 0.0
