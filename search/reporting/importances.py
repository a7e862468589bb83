"""The importances of a report: of AP by the model that the search had, of latency by the table that it counted with."""

from collections.abc import Mapping, Sequence

import numpy as np

from litepose_ofa.search.accuracy.evaluators import AccuracyModel
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.reporting.device_latency import DEVICE, DeviceLatency
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets
from litepose_ofa.search.reporting.importance import ChoiceImportance, choice_genes, choice_importances
from litepose_ofa.search.reporting.searches import Gap, SearchedCell
from litepose_ofa.supernet.errors import InputError

MOST_SAMPLES = 1000
"""Evaluated subnets that a predictor is fitted to, at most."""

Importances = dict[str, dict[str, ChoiceImportance]]
"""By quantity, ``AP`` or ``latency_ms/<panel>``, and choice."""


def report_importances(
    panels: Mapping[str, Sequence[SearchedCell]],
    evaluated: Mapping[str, EvaluatedSubnets],
    predictor: AccuracyPredictor | None,
    rng: np.random.Generator,
) -> tuple[Importances, list[Gap]]:
    """Return the importances for AP, then for the latency of each panel, and why any is missing.

    Args:
        panels: Searches whose accuracies may be compared, by panel.
        evaluated: What they evaluated, by panel.
        predictor: The workspace's predictor, if there is one.
        rng: Draws the genomes.
    """
    found, gaps = Importances(), list[Gap]()
    first = next(iter(panels.values()))[0]
    codec = GenomeCodec(first.space)
    if not choice_genes(codec):
        return {}, [Gap(first.device, first.tier, "no importances: the space is one architecture, without a choice")]
    try:
        model = accuracy_model(first, list(evaluated.values()), predictor)
        found["AP"] = choice_importances(codec, model.predict_ap, rng)
    except InputError as error:
        gaps.append(Gap(first.device, first.tier, f"no importances for AP: {error}"))
    for title, (cell, *_) in panels.items():
        try:
            found[f"latency_ms/{title}"] = _latency_importances(codec, cell, rng)
        except InputError as error:
            gaps.append(Gap(cell.device, cell.tier, f"no importances for latency: {error}"))
    return found, gaps


def accuracy_model(
    cell: SearchedCell, evaluated: Sequence[EvaluatedSubnets], predictor: AccuracyPredictor | None
) -> AccuracyModel:
    """Return a model of a search's accuracies: the one it had, or where all were measured one fitted to these.

    Args:
        cell: The search.
        evaluated: What it and its like evaluated.
        predictor: The workspace's predictor, if there is one.

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
    codec: GenomeCodec, cell: SearchedCell, rng: np.random.Generator
) -> dict[str, ChoiceImportance]:
    latency = DeviceLatency.load(cell.record["table"], cell.search["table"], cell.decoding)
    cost = latency.cost_model(cell.space, cell.num_keypoints)
    return choice_importances(codec, lambda genomes: cost.latency_ms(genomes, DEVICE), rng)
