"""Which choices drive AP and latency: how much of a quantity's variance over a space hangs on each choice.

Legend: n genomes, G genes.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.evaluators import AccuracyModel
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets, device_latency
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.supernet.errors import InputError

NUM_GENOMES = 1024

MOST_SAMPLES = 1000
"""Evaluated subnets that a predictor is fitted to, at most."""

METHOD = "total-order Sobol index over the whole space, every choice uniform"

AP, LATENCY = "AP", "latency_ms/"
"""The quantities: AP, and the latency on a panel, whose title follows."""

Floats = NDArray[np.float64]
Quantity = Callable[[Genomes], Floats]
"""A number of each canonical genome, shape (n, G), as (n,)."""


def choice_importances(
    codec: GenomeCodec, quantity: Quantity, rng: np.random.Generator, *, n: int = NUM_GENOMES
) -> pd.DataFrame:
    """Return the importance of every choice of a space, the most important first.

    A choice is one of ``choice_genes``. In n genomes it is drawn anew, all others kept; the share is half the mean
    square of what that changes, by the variance of both samples.

    Source: Jansen, Analysis of variance designs for model output (1999), the estimator of total effects.

    Returns:
        A row a ``choice``. ``variance_share``: share of the variance that is left, on average, where all choices but
        this one are fixed, in [0, 1]; as choices interact, the shares add up to 1 or more. ``standard_error`` of the
        share, in which the variance is estimated too (the jackknife's, linearised). ``direction``: how much more often
        a larger choice (of a stage's blocks: a larger sum), all others equal, raises the quantity than lowers it, from
        1 (always raises it) to -1.
    """
    genes, others = codec.random_genes(n, rng), codec.random_genes(n, rng)
    before = codec.canonicalise(genes)
    values = quantity(before)
    rows = []
    for name, columns in choice_genes(codec).items():
        varied = genes.copy()
        varied[:, columns] = others[:, columns]
        after = codec.canonicalise(varied)
        changed = quantity(after)
        change = changed - values
        squares = ((values - values.mean()) ** 2 + (changed - changed.mean()) ** 2) / 2
        variance = max(float(squares.mean()), np.finfo(np.float64).tiny)
        share = float((change**2).mean()) / (2 * variance)
        error = float((change**2 / 2 - share * squares).std()) / variance / np.sqrt(n)
        steps = (after[:, columns].astype(np.int64) - before[:, columns]).sum(axis=1)
        rows.append((name, share, error, _direction(steps, change)))
    table = pd.DataFrame(rows, columns=["choice", "variance_share", "standard_error", "direction"])
    return table.sort_values("variance_share", ascending=False, kind="stable", ignore_index=True)


def choice_genes(codec: GenomeCodec) -> dict[str, list[int]]:
    """Return the columns of the genes of every choice, without those that leave no choice.

    Kernels and expansions are those of a stage's blocks together, as each block alone matters little.
    """
    columns: defaultdict[str, list[int]] = defaultdict(list)
    for column, name in enumerate(codec.names):
        if codec.cardinalities[column] > 1:
            columns[_choice(name)].append(column)
    return dict(columns)


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


def report_importances(
    panels: Mapping[str, Sequence[FinishedSearch]],
    evaluated: Mapping[str, EvaluatedSubnets],
    predictor: AccuracyPredictor | None,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, list[Missing]]:
    """Return the importances for AP, then for the latency of each panel, and why any is missing.

    Returns:
        Of every quantity the rows of ``choice_importances``, with ``quantity``, ``ap_source`` and ``method``.
    """
    first = next(iter(panels.values()))[0]
    codec = GenomeCodec(first.space)
    if not choice_genes(codec):
        reason = "no importances: the space is one architecture, without a choice"
        return pd.DataFrame(), [Missing(first.device, first.tier, reason)]
    quantities: list[tuple[str, FinishedSearch, Callable[[], Quantity]]] = [
        (AP, first, lambda: accuracy_model(first, list(evaluated.values()), predictor).predict_ap),
        *(
            (f"{LATENCY}{title}", cell, partial(device_latency, cell, cell.space))
            for title, (cell, *_) in panels.items()
        ),
    ]
    found, gaps = list[pd.DataFrame](), list[Missing]()
    for name, cell, load in quantities:
        try:
            table = choice_importances(codec, load(), rng)
        except InputError as error:
            kind = "AP" if name == AP else "latency"
            gaps.append(Missing(cell.device, cell.tier, f"no importances for {kind}: {error}"))
        else:
            source = first.source if name == AP else None
            table = table.assign(quantity=name, ap_source=source, method=METHOD)
            found.append(table[["quantity", "ap_source", *table.columns.drop(["quantity", "ap_source"])]])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(), gaps


def accuracy_model(
    cell: FinishedSearch, evaluated: Sequence[EvaluatedSubnets], predictor: AccuracyPredictor | None
) -> AccuracyModel:
    """Return a model of a search's accuracies: the surrogate that it had, or one fitted to all that was evaluated.

    Raises:
        InputError: If the surrogate is another one by now, or too few subnets were evaluated.
    """
    evaluator = cell.search["evaluator"]
    if cell.source == "published-surrogate":
        model = PublishedSurrogate(cell.space, dataset=evaluator["dataset"])
        if model.digest != evaluator["predictor"]:
            raise InputError(f"the {model.source} is another one than the search had; search again")
        return model
    if not evaluated:
        raise InputError("no study can be read")
    measured = EvaluatedSubnets.merged(evaluated)
    genomes, ap = measured.genomes[:MOST_SAMPLES], measured.ap[:MOST_SAMPLES]
    if predictor is not None and predictor.identity.items() <= evaluator.items():
        return predictor.refitted(genomes, ap)
    return AccuracyPredictor(cell.space, genomes, ap, identity=evaluator, num_keypoints=cell.num_keypoints)
