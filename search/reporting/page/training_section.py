"""How the supernet was trained: losses, learning rate and accuracies over the steps, of ``metrics.jsonl``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from litepose_ofa.search.reporting.page.section import (
    HEIGHT,
    LOW_HEIGHT,
    Block,
    Chart,
    Grid,
    Prose,
    Section,
    percent_axis,
    recorded_blocks,
)
from litepose_ofa.search.workspace import Workspace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import require_regular

MOST_POINTS = 400
"""Of a curve: more are no wider than a line."""

LOSS_FLOOR = 0.01
"""Below it the axis of the loss's parts is linear: some of them reach 0."""

PART_TICKS = (0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)

LOSS, AP = "loss/", "ap/"
ENDS = ("smallest", "largest")
PARTS = ("heatmap", "push", "pull", "distillation", "guide")


def training_section(workspace: Path) -> Section:
    """Return the curves of the workspace's supernet, and of the subnets that were finetuned."""
    blocks = recorded_blocks(
        Workspace(workspace).training_metrics,
        _supernet_blocks,
        what="The training of the supernet",
        command="litepose train",
        read=read_metrics,
    )
    tuned = Workspace(workspace).finetunings()
    if tuned:
        blocks += recorded_blocks(
            workspace / "finetune",
            lambda found: [_finetuning_chart(found)],
            what="Finetuning",
            command="litepose finetune",
            read=lambda _: {"/".join(path.parts[-3:-1]): read_metrics(path) for path in tuned},
        )
    return Section("training", "Training", blocks)


def read_metrics(path: Path) -> pd.DataFrame:
    """Return the lines of a training's log, a column a metric; a line that a kill has torn is left out.

    Raises:
        InputError: If no line is one of a training.
    """
    require_regular(path)
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    if not lines:
        raise InputError(f"{path}: holds no metrics of a training")
    frame = pd.DataFrame(lines)
    return frame.assign(**{str(name): pd.to_numeric(frame[name], errors="coerce") for name in frame.columns})


def thin_curve(steps: ArrayLike, values: ArrayLike, most: int = MOST_POINTS) -> pd.DataFrame:
    """Return a curve of at most so many points: neighbours become their mean; a value that is not finite is left out.

    Returns:
        The columns ``step`` and ``value``.
    """
    curve = np.column_stack([np.asarray(steps, np.float64), np.asarray(values, np.float64)])
    curve = curve[np.isfinite(curve).all(axis=1)]
    bins = np.array_split(curve, min(len(curve), most)) if len(curve) else []
    return pd.DataFrame([part.mean(axis=0) for part in bins], columns=["step", "value"])


def _supernet_blocks(metrics: pd.DataFrame) -> list[Block]:
    names = [str(name) for name in metrics.columns if metrics[name].notna().any()]
    accuracies = _named(names, AP)
    blocks: list[Block] = [Prose(_summary(metrics, accuracies)), *_loss_charts(metrics, names)]
    small = []
    if accuracies:
        frame = curves(metrics, accuracies).assign(value=lambda table: 100 * table["value"])
        chart = _lines(frame, "AP, %", percent_axis("AP, %")["scale"], LOW_HEIGHT, point=True)
        small.append(Chart(chart, "AP of subnets during the training, batch norm recalibrated for each."))
    else:
        command = "litepose train training.validate_every=500"
        blocks.append(Prose(f"No AP was measured on the way: `{command}` does so every 500 steps."))
    if "learning_rate" in names:
        frame = curves(metrics, {"learning rate": "learning_rate"})
        small.append(Chart(_lines(frame, "learning rate", alt.Scale(), LOW_HEIGHT, legend=False), "Learning rate."))
    return [*blocks, Grid(small)] if small else blocks


def _loss_charts(metrics: pd.DataFrame, names: Sequence[str]) -> list[Chart]:
    charts = []
    if losses := _named(names, LOSS):
        chart = _lines(curves(metrics, losses), "loss", alt.Scale(type="log", nice=True), HEIGHT)
        charts.append(Chart(chart, "Training loss of the subnets of each step, on a logarithmic axis."))
    if parts := {name.replace("/", ", "): name for name in names if name.rpartition("/")[2] in PARTS}:
        scale = alt.Scale(type="symlog", constant=LOSS_FLOOR, nice=True)
        chart = _lines(curves(metrics, parts), "part of the loss", scale, HEIGHT, ticks=PART_TICKS)
        caption = "Parts of the loss before they are weighed, on an axis that is linear near 0 and logarithmic above."
        charts.append(Chart(chart, caption))
    return charts


def _named(names: Sequence[str], prefix: str) -> dict[str, str]:
    """Return the columns of a prefix by the rest of their names: the two ends first, for one colour in all charts."""
    found = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    return {name: found[name] for name in sorted(found, key=lambda name: (name not in ENDS, name != ENDS[0]))}


def curves(metrics: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return some columns of a log as curves below each other: ``step``, ``value``, and ``curve``, the name of each."""
    found = [
        thin_curve(metrics["step"].to_numpy(), metrics[column].to_numpy()).assign(curve=name)
        for name, column in columns.items()
    ]
    return pd.concat(found, ignore_index=True)


def _summary(metrics: pd.DataFrame, accuracies: Mapping[str, str]) -> str:
    text = f"{int(metrics['step'].max()) + 1:,} steps"
    if "images_per_second" in metrics:
        text += f", {metrics['images_per_second'].median():.4g} images/s in the median"
    if "skipped_updates" in metrics and metrics["skipped_updates"].max() > 0:
        text += f", {int(metrics['skipped_updates'].max())} updates skipped"
    last = {name: metrics[column].dropna() for name, column in accuracies.items()}
    ends = [f"{100 * values.iloc[-1]:.1f} % {name}" for name, values in last.items() if len(values)]
    return f"{text}. AP at the end: {', '.join(ends)}." if ends else f"{text}."


def _lines(
    frame: pd.DataFrame,
    title: str,
    scale: alt.Scale,
    height: int,
    *,
    ticks: Sequence[float] = (),
    point: bool = False,
    legend: bool = True,
) -> alt.Chart:
    colour = alt.Color("curve:N", sort=None, legend=alt.Legend() if legend else None)
    if scale.to_dict().get("type") == "log":
        frame = frame[frame["value"] > 0]
    chart: alt.Chart = (
        alt.Chart(frame, width="container", height=height)
        .mark_line(strokeWidth=1.8, point={"size": 50} if point else False)
        .encode(
            x=alt.X("step:Q", title="step", scale=alt.Scale(zero=True)),
            y=alt.Y(
                "value:Q", title=title, scale=scale, axis=alt.Axis(values=ticks, format="~g") if ticks else alt.Axis()
            ),
            color=colour,
            tooltip=[
                alt.Tooltip("curve:N", title="curve"),
                alt.Tooltip("step:Q", format=",.0f"),
                alt.Tooltip("value:Q", title=title, format=".4g"),
            ],
        )
    )
    return chart


def _finetuning_chart(tuned: Mapping[str, pd.DataFrame]) -> Chart:
    frame = pd.concat([curves(metrics, {name: f"{LOSS}subnet"}) for name, metrics in tuned.items()], ignore_index=True)
    caption = "Training loss of the subnets that were finetuned after the search, by device and tier."
    return Chart(_lines(frame, "loss", alt.Scale(zero=False), LOW_HEIGHT), caption)
