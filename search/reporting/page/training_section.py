"""How the supernet was trained: losses, learning rate and accuracies over the steps, of ``metrics.jsonl``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from litepose_ofa.search.reporting.page.drawing import lines
from litepose_ofa.search.reporting.page.section import Block, Chart, Grid
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


def read_metrics(path: Path) -> pd.DataFrame:
    """Return the lines of a training's log, a column a metric; a line that a kill has torn is left out.

    Raises:
        InputError: If no line is one of a training.
    """
    require_regular(path)
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and "step" in line:
            found.append(line)
    if not found:
        raise InputError(f"{path}: holds no metrics of a training")
    frame = pd.DataFrame(found)
    return frame.assign(**{str(name): pd.to_numeric(frame[name], errors="coerce") for name in frame.columns})


def thin_curve(steps: ArrayLike, values: ArrayLike, most: int = MOST_POINTS) -> pd.DataFrame:
    """Return ``step`` and ``value`` of a curve of at most so many points: neighbours become their mean.

    A value that is not finite is left out.
    """
    curve = np.column_stack([np.asarray(steps, np.float64), np.asarray(values, np.float64)])
    curve = curve[np.isfinite(curve).all(axis=1)]
    bins = np.array_split(curve, min(len(curve), most)) if len(curve) else []
    return pd.DataFrame([part.mean(axis=0) for part in bins], columns=["step", "value"])


def curves(metrics: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return some columns of a log as curves below each other: ``step``, ``value``, and ``curve``, the name of each."""
    found = [thin_curve(metrics["step"], metrics[column]).assign(curve=name) for name, column in columns.items()]
    return pd.concat(found, ignore_index=True)


def training_blocks(metrics: pd.DataFrame) -> list[Block]:
    """Return the curves of a supernet's training, and in a sentence how it ended."""
    names = [str(name) for name in metrics.columns if metrics[name].notna().any()]
    losses, accuracies = _named(names, LOSS), _named(names, AP)
    parts = {name.replace("/", ", "): name for name in names if name.rpartition("/")[2] in PARTS}
    charts = []
    if losses:
        frame = curves(metrics, losses)
        scale = alt.Scale(type="log", nice=True)
        caption = "Training loss of the subnets of each step, on a logarithmic axis."
        charts.append(_chart(frame[frame["value"] > 0], "loss", caption, scale=scale))
    if parts:
        scale = alt.Scale(type="symlog", constant=LOSS_FLOOR, nice=True)
        caption = "Parts of the loss before they are weighed, on an axis that is linear near 0 and logarithmic above."
        charts.append(_chart(curves(metrics, parts), "part of the loss", caption, scale=scale, ticks=PART_TICKS))
    if accuracies:
        frame = curves(metrics, accuracies).assign(value=lambda table: 100 * table["value"])
        caption = "AP of subnets during the training, batch norm recalibrated for each."
        charts.append(_chart(frame, "AP, %", caption, point=True))
    if "learning_rate" in names:
        charts.append(_chart(curves(metrics, {"learning rate": "learning_rate"}), "learning rate", "Learning rate."))
    blocks: list[Block] = [_summary(metrics, accuracies)]
    if not accuracies:
        command = "litepose train training.validate_every=500"
        blocks.append(f"No AP was measured on the way: `{command}` does so every 500 steps.")
    return [*blocks, Grid(charts)] if charts else blocks


def finetuning_blocks(tuned: Mapping[str, pd.DataFrame]) -> list[Block]:
    """Return the losses of finetunings, by their names."""
    frame = pd.concat([curves(metrics, {name: f"{LOSS}subnet"}) for name, metrics in tuned.items()], ignore_index=True)
    caption = "Training loss of the subnets that were finetuned after the search, by device and tier."
    return [_chart(frame, "loss", caption)]


def _named(names: list[str], prefix: str) -> dict[str, str]:
    """Return the columns of a prefix by the rest of their names: the two ends first, for one colour in all charts."""
    found = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    return {name: found[name] for name in sorted(found, key=lambda name: (name not in ENDS, name != ENDS[0]))}


def _chart(frame: pd.DataFrame, title: str, caption: str, **looks: Any) -> Chart:
    return Chart(lines(frame.rename(columns={"value": title}), "step", title, "curve", **looks), caption)


def _summary(metrics: pd.DataFrame, accuracies: Mapping[str, str]) -> str:
    text = f"{int(metrics['step'].max()) + 1:,} steps"
    if "images_per_second" in metrics:
        text += f", {metrics['images_per_second'].median():.4g} images/s in the median"
    if "skipped_updates" in metrics and metrics["skipped_updates"].max() > 0:
        text += f", {int(metrics['skipped_updates'].max())} updates skipped"
    ends = [f"{100 * metrics[column].dropna().iloc[-1]:.1f} % {name}" for name, column in accuracies.items()]
    return f"{text}. AP at the end: {', '.join(ends)}." if ends else f"{text}."
