"""Pictures of rank fidelity and of sensitivity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from litepose_ofa.search.trust.rank_fidelity import GROUP_LABELS, FidelityRecord, format_estimate
from litepose_ofa.search.trust.sensitivity import MIXED, published_kernel_changes, sensitivity_devices
from litepose_ofa.supernet.files import replacing

AP_COLOUR, COST_COLOUR, PUBLISHED_COLOUR = "tab:blue", "0.7", "tab:red"

PANEL_ROWS = {"depth": 1, "width": 2, "deconv": 3}
"""Rows of the sensitivity picture by the first word of a dimension; all others are in row 0."""


def plot_fidelity(path: Path | str, records: Sequence[FidelityRecord], report: dict[str, Any]) -> None:
    """Draw AP trained alone against inherited AP, one panel a group, coloured by MACs.

    Args:
        path: The PNG to write.
        records: The subnets.
        report: Their ``fidelity_report``.
    """
    groups = report["groups"]
    figure = Figure(figsize=(4.6 * len(groups) + 0.8, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    mmacs = [record.macs / 1e6 for record in records]
    norm = LogNorm(min(mmacs), 1.001 * max(mmacs))
    for axis, (name, group) in zip(axes, groups.items(), strict=True):
        points = _draw_group(axis, [record for record in records if record.group == name], norm)
        taus = [format_estimate(group[scores]["kendall_tau"]) for scores in ("inherited", "macs")]
        title = f"{GROUP_LABELS[name]}: {group['num_subnets']} subnets"
        axis.set_title(f"{title}\nKendall tau {taus[0]}\nof MACs alone {taus[1]}", fontsize=10)
    ticks = np.geomspace(min(mmacs), max(mmacs), 5)
    bar = figure.colorbar(points, ax=list(axes), label="MMACs", ticks=ticks)
    bar.ax.minorticks_off()
    bar.ax.set_yticklabels([f"{tick:,.{0 if tick >= 100 else 1}f}" for tick in ticks])
    note = f"In brackets: {100 * report['confidence']:g} % bootstrap intervals."
    figure.supxlabel(note, fontsize=8, color="0.35", x=0.01, ha="left")
    _save(figure, path)


def _draw_group(axis: Axes, records: Sequence[FidelityRecord], norm: LogNorm) -> PathCollection:
    inherited = [100 * record.inherited_ap for record in records]
    truth = [100 * record.truth for record in records]
    trained = [100 * np.array(record.trained_aps) for record in records]
    several = max(map(len, trained)) > 1
    if several:
        axis.vlines(
            inherited, [aps.min() for aps in trained], [aps.max() for aps in trained], color="0.6", lw=1, zorder=1
        )
    axis.set_xlabel("inherited AP, %")
    axis.set_ylabel(f"AP trained alone, %{': mean and range of seeds' if several else ''}")
    axis.grid(alpha=0.25)
    colours = [record.macs / 1e6 for record in records]
    return axis.scatter(inherited, truth, c=colours, norm=norm, s=42, edgecolors="0.25", linewidths=0.5, zorder=2)


def plot_sensitivity(path: Path | str, frame: pd.DataFrame) -> None:
    """Draw, for each dimension, the change of AP as a line and below it the cost as bars; panels share their scales.

    The cost is the latency of the first device, or MACs if there is none, relative to the base architecture. With the
    kernel's line is the published ablation, as its change from the base's kernel.

    Args:
        path: The PNG to write.
        frame: From ``sensitivity``.
    """
    base = frame[frame["is_base"]].iloc[0]
    device = next(iter(sensitivity_devices(frame)), None)
    cost = "macs" if device is None else f"latency_ms/{device}"
    frame = frame.assign(change=100 * (frame["ap"] - base["ap"]), cost=100 * frame[cost] / base[cost])
    rows: dict[int, list[pd.DataFrame]] = {}
    for name, values in frame.groupby("dimension", sort=False):
        rows.setdefault(PANEL_ROWS.get(str(name).split()[0], 0), []).append(values)
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(2.4 * columns + 0.6, 2.7 * len(rows) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2 * len(rows), columns, height_ratios=[2, 1] * len(rows))
    upper: Axes | None = None
    lower: Axes | None = None
    for row, (_, panels) in enumerate(sorted(rows.items())):
        for column, values in enumerate(panels):
            upper = figure.add_subplot(grid[2 * row, column], sharey=upper)
            lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper, sharey=lower)
            _draw_dimension(upper, lower, values)
            for axis, label in ((upper, "AP change, points"), (lower, "cost, %")):
                axis.tick_params(labelleft=column == 0)
                axis.set_ylabel(label if column == 0 else "", fontsize=8.5)
    kernels = frame.loc[frame["is_base"] & (frame["dimension"] == "kernel"), "value"]
    _explain(figure, base, device, with_published=any(published_kernel_changes(kernel) for kernel in kernels))
    _save(figure, path)


def _draw_dimension(upper: Axes, lower: Axes, values: pd.DataFrame) -> None:
    dimension = values["dimension"].iloc[0]
    base_value = values.loc[values["is_base"], "value"].iloc[0]
    published = published_kernel_changes(base_value) if dimension == "kernel" else {}
    places = {value: i for i, value in enumerate(dict.fromkeys([*values["value"], *published]))}
    x = values["value"].map(places)
    upper.axhline(0, color="0.5", lw=0.6)
    changes = [100 * change for change in published.values()]
    upper.plot([places[kernel] for kernel in published], changes, "s--", color=PUBLISHED_COLOUR, ms=4, lw=1)
    ordered = values["value"] != MIXED
    upper.plot(x[ordered], values.loc[ordered, "change"], "o-", color=AP_COLOUR, ms=5)
    upper.plot(places[base_value], 0, "o", color="white", markeredgecolor=AP_COLOUR, ms=6)
    upper.set_title(dimension, fontsize=10)
    upper.tick_params(labelbottom=False)
    lower.bar(x, values["cost"], width=0.6, color=COST_COLOUR)
    lower.set_xticks(range(len(places)), list(map(str, places)))
    lower.set_xlim(-0.6, len(places) - 0.4)
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)


def _explain(figure: Figure, base: "pd.Series[Any]", device: str | None, *, with_published: bool) -> None:
    title = f"Each dimension alone; base: AP {100 * base['ap']:.1f} %, {base['macs'] / 1e6:,.1f} MMACs"
    cost = "MACs"
    if device is not None:
        provenance = base[f"latency_provenance/{device}"]
        cost = f"{'' if provenance == 'measured' else 'estimated '}latency on {device}"
        title += f", {base[f'latency_ms/{device}']:.4g} ms"
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=AP_COLOUR, marker="o", ms=5, label="AP inside the supernet"),
        Line2D([], [], color=AP_COLOUR, marker="o", ms=6, markerfacecolor="white", lw=0, label="base"),
        Patch(color=COST_COLOUR, label=f"cost: {cost}, % of base"),
    ]
    if with_published:
        label = "published, CrowdPose, trained separately"
        handles.append(Line2D([], [], color=PUBLISHED_COLOUR, marker="s", ms=4, ls="--", lw=1, label=label))
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)


def _save(figure: Figure, path: Path | str) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
