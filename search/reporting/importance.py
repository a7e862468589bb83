"""Which choices drive AP and latency: how much of a quantity's variance over a space hangs on each choice.

Legend: n genomes, G genes.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.evaluators import AccuracyModel
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.reporting.evaluated import DEVICE, DeviceLatency, EvaluatedSubnets
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing
from litepose_ofa.search.reporting.summary import AP_BY
from litepose_ofa.supernet.errors import InputError

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
    """Return one row a quantity and choice, the most important of each quantity first."""
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


MOST_SAMPLES = 1000
"""Evaluated subnets that a predictor is fitted to, at most."""

Importances = dict[str, dict[str, ChoiceImportance]]
"""By quantity, ``AP`` or ``latency_ms/<panel>``, and choice."""


def report_importances(
    panels: Mapping[str, Sequence[FinishedSearch]],
    evaluated: Mapping[str, EvaluatedSubnets],
    predictor: AccuracyPredictor | None,
    rng: np.random.Generator,
) -> tuple[Importances, list[Missing]]:
    """Return the importances for AP, then for the latency of each panel, and why any is missing."""
    found, gaps = Importances(), list[Missing]()
    first = next(iter(panels.values()))[0]
    codec = GenomeCodec(first.space)
    if not choice_genes(codec):
        return {}, [
            Missing(first.device, first.tier, "no importances: the space is one architecture, without a choice")
        ]
    try:
        model = accuracy_model(first, list(evaluated.values()), predictor)
        found["AP"] = choice_importances(codec, model.predict_ap, rng)
    except InputError as error:
        gaps.append(Missing(first.device, first.tier, f"no importances for AP: {error}"))
    for title, (cell, *_) in panels.items():
        try:
            found[f"latency_ms/{title}"] = _latency_importances(codec, cell, rng)
        except InputError as error:
            gaps.append(Missing(cell.device, cell.tier, f"no importances for latency: {error}"))
    return found, gaps


def accuracy_model(
    cell: FinishedSearch, evaluated: Sequence[EvaluatedSubnets], predictor: AccuracyPredictor | None
) -> AccuracyModel:
    """Return a model of a search's accuracies: the one it had, or where all were measured one fitted to these.

    Raises:
        InputError: If the predictor is another one by now, or too few subnets were measured.
    """
    evaluator = cell.search["evaluator"]
    if cell.source == "published-surrogate":
        model: AccuracyModel = PublishedSurrogate(cell.space, dataset=evaluator["dataset"])
    elif cell.source == "predictor":
        if predictor is None:
            raise InputError("the workspace has no predictor that can be read")
        model = predictor
    else:
        if not evaluated:
            raise InputError("no study can be read")
        measured = EvaluatedSubnets.merged(evaluated)
        return AccuracyPredictor(
            cell.space,
            measured.genomes[:MOST_SAMPLES],
            measured.ap[:MOST_SAMPLES],
            identity=evaluator,
            num_keypoints=cell.num_keypoints,
        )
    if model.digest != evaluator["predictor"]:
        raise InputError(f"the {model.source} is another one than the search had; search again")
    return model


def _latency_importances(
    codec: GenomeCodec, cell: FinishedSearch, rng: np.random.Generator
) -> dict[str, ChoiceImportance]:
    latency = DeviceLatency.load(cell.record["table"], cell.search["table"], cell.decoding)
    cost = latency.cost_model(cell.space, cell.num_keypoints)
    return choice_importances(codec, lambda genomes: cost.latency_ms(genomes, DEVICE), rng)
