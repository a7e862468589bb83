"""How far the accuracy predictor can be trusted: predicted against measured AP, and the regressors compared."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from litepose_ofa.search.rank_agreement import format_estimate
from litepose_ofa.search.reporting.page.drawing import BLUE, GREY, scatter
from litepose_ofa.search.reporting.page.section import Block, Chart, Table

LABELS = {
    "ridge": "ridge",
    "gaussian_process": "Gaussian process",
    "boosting": "gradient boosting",
    "mlp_ensemble": "MLP ensemble",
}

COLOURS = {"held out": BLUE, "cross-validated": GREY}


def predictor_blocks(quality: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a predictor's recorded quality, ``PredictorComparison.to_dict`` and ``predictions``."""
    chosen = quality["regressors"][quality["chosen"]]
    tau, within = format_estimate(chosen["held_out"]["kendall_tau"]), format_estimate(chosen["tau_within_budgets"])
    error = format_estimate(chosen["held_out"]["mae"], ".1f", scale=100)
    name = LABELS.get(quality["chosen"], quality["chosen"])
    level = f"{100 * quality['confidence']:g} %"
    text = (
        f"{name[:1].upper()}{name[1:]} was chosen by cross-validation, and "
        f"judged on {quality['num_held_out']} of {quality['num_samples']} measured subnets that no choice saw: "
        f"Kendall tau {tau}, mean absolute error {error} AP points. Among subnets of the same quarter of MACs, "
        f"between which a budget leaves the choice, tau is {within}. In brackets: {level} intervals."
    )
    predictions = quality.get("predictions")
    table = Table(regressor_table(quality), f"The regressors compared, the best first; intervals are {level}.")
    if predictions is None:
        return [text, "The predictions of single subnets were not kept; `litepose fit` run again keeps them.", table]
    return [text, _scatter(predictions), table]


def regressor_table(quality: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a kind of regressor, the highest cross-validated tau first."""
    ranked = sorted(quality["regressors"].items(), key=lambda item: -item[1]["cross_validation"]["kendall_tau"])
    return pd.DataFrame(
        {
            "regressor": f"{LABELS.get(kind, kind)}{', chosen' if kind == quality['chosen'] else ''}",
            "tau, cross-validated": f"{figures['cross_validation']['kendall_tau']:.2f}",
            "tau, held out": format_estimate(figures["held_out"]["kendall_tau"]),
            "tau, within budgets": format_estimate(figures["tau_within_budgets"]),
            "MAE, AP points, held out": format_estimate(figures["held_out"]["mae"], ".1f", scale=100),
            f"top-{figures['held_out']['top_k']} regret, AP points": f"{100 * figures['held_out']['regret']:.1f}",
        }
        for kind, figures in ranked
    )


def _scatter(predictions: Mapping[str, Any]) -> Chart:
    frame = pd.DataFrame(
        {
            "predicted AP, %": 100 * np.array(predictions["predicted"]),
            "measured AP, %": 100 * np.array(predictions["measured"]),
            "subnets": np.where(predictions["held_out"], *COLOURS),
        }
    )
    colour = alt.Color("subnets:N", scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())))
    return Chart(
        scatter(frame, "predicted AP, %", "measured AP, %", colour),
        "Predicted against measured AP: each subnet by a fit that did not see it; on the dashed line the two agree.",
    )
