"""How far the accuracy predictor can be trusted: predicted against measured AP, and the regressors compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from litepose_ofa.search.reporting.page.section import (
    BLUE,
    GREY,
    HEIGHT,
    Block,
    Chart,
    Prose,
    Section,
    Table,
    equality_line,
    interval,
    percent_axis,
    recorded_blocks,
)
from litepose_ofa.search.workspace import Workspace

COMMAND = "litepose fit"

LABELS = {
    "ridge": "ridge",
    "gaussian_process": "Gaussian process",
    "boosting": "gradient boosting",
    "mlp_ensemble": "MLP ensemble",
}

SEEN, HELD_OUT = "cross-validated", "held out"


def predictor_section(workspace: Path) -> Section:
    """Return what ``litepose fit`` recorded of the predictor's quality."""
    path = Workspace(workspace).predictor_quality
    what = "The quality of the accuracy predictor"
    return Section(
        "predictor", "Accuracy predictor", recorded_blocks(path, predictor_blocks, what=what, command=COMMAND)
    )


def predictor_blocks(quality: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a predictor's recorded quality, ``PredictorComparison.to_dict`` and ``predictions``."""
    chosen = quality["regressors"][quality["chosen"]]["held_out"]
    tau, error = interval(chosen["kendall_tau"]), interval(chosen["mae"], ".1f", scale=100)
    name = LABELS.get(quality["chosen"], quality["chosen"])
    level = f"{100 * quality['confidence']:g} %"
    blocks: list[Block] = [
        Prose(
            f"{name[:1].upper()}{name[1:]} was chosen by cross-validation, and "
            f"judged on {quality['num_held_out']} of {quality['num_samples']} measured subnets that no choice saw: "
            f"Kendall tau {tau}, mean absolute error {error} AP points. In brackets: {level} bootstrap intervals."
        )
    ]
    predictions = quality.get("predictions")
    if predictions is None:
        blocks.append(Prose(f"The predictions of single subnets were not kept; `{COMMAND}` run again keeps them."))
    else:
        blocks.append(_scatter(predictions))
    blocks.append(Table(regressor_table(quality), f"The regressors compared, the best first; intervals are {level}."))
    return blocks


def regressor_table(quality: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a kind of regressor, the highest cross-validated tau first."""
    ranked = sorted(quality["regressors"].items(), key=lambda item: -item[1]["cross_validation"]["kendall_tau"])
    return pd.DataFrame(
        {
            "regressor": f"{LABELS.get(kind, kind)}{', chosen' if kind == quality['chosen'] else ''}",
            "tau, cross-validated": f"{figures['cross_validation']['kendall_tau']:.2f}",
            "tau, held out": interval(figures["held_out"]["kendall_tau"]),
            "MAE, AP points, held out": interval(figures["held_out"]["mae"], ".1f", scale=100),
            f"top-{figures['held_out']['top_k']} regret, AP points": interval(
                figures["held_out"]["regret"], ".1f", scale=100
            ),
        }
        for kind, figures in ranked
    )


def _scatter(predictions: Mapping[str, Any]) -> Chart:
    frame = pd.DataFrame(
        {
            "predicted": [100 * ap for ap in predictions["predicted"]],
            "measured": [100 * ap for ap in predictions["measured"]],
            "subnets": [HELD_OUT if held_out else SEEN for held_out in predictions["held_out"]],
        }
    )
    points = (
        alt.Chart(frame)
        .mark_point(filled=True, opacity=0.85)
        .encode(
            color=alt.Color("subnets:N", scale=alt.Scale(domain=[HELD_OUT, SEEN], range=[BLUE, GREY])),
            size=alt.condition(alt.datum.subnets == HELD_OUT, alt.value(80), alt.value(35)),
            tooltip=["subnets:N", alt.Tooltip("predicted:Q", format=".1f"), alt.Tooltip("measured:Q", format=".1f")],
        )
    )
    chart = alt.layer(equality_line(frame, "predicted", "measured"), points).encode(
        x=alt.X("predicted:Q", **percent_axis("predicted AP, %")),
        y=alt.Y("measured:Q", **percent_axis("measured AP, %")),
    )
    caption = (
        "Predicted against measured AP: each subnet by a fit that did not see it; on the dashed line the two agree."
    )
    return Chart(chart.properties(width="container", height=HEIGHT), caption)
