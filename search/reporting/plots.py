"""Pictures of hypervolume over evaluations, and of what drives AP and latency."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from litepose_ofa.search.reporting.figures import (
    PANEL_COLUMNS,
    make_grid,
    save_picture,
    set_title,
)
from litepose_ofa.search.reporting.importance import METHOD, ChoiceImportance, quantity_title
from litepose_ofa.search.reporting.summary import AP_BY, REFERENCE

LEAST_SHARE = 1.0
"""Percent that the axis of shares reaches at least."""

RAISING_COLOUR, LOWERING_COLOUR = "tab:blue", "tab:orange"


def plot_hypervolume(path: Path | str, progress: pd.DataFrame) -> None:
    """Draw the hypervolume over evaluations, one panel a device, one line a tier.

    Args:
        path: The PNG to write.
        progress: From ``collect_progress``.
    """
    devices = list(dict.fromkeys(progress["device"]))
    figure, axes = make_grid(len(devices), width=4.4, height=4.2, share_y=False)
    for axis, device in zip(axes, devices, strict=True):
        rows = progress[progress["device"] == device]
        for tier, line in rows.groupby("tier", sort=False):
            budget = line["budget_ms"].iloc[0]
            label = f"{tier}" if pd.isna(budget) else f"{tier}: {budget:.4g} ms"
            axis.plot(line["evaluations"], 100 * line["hypervolume"], "o-", ms=3.5, lw=1.3, label=label)
        several = rows["budget_ms"].isna().all()
        axis.set_title(f"{device}: mean of their fronts" if several else device, fontsize=11)
        axis.set_xlabel("evaluations")
        axis.grid(alpha=0.25)
        axis.legend(
            fontsize=8, title="tier" if several else "tier: budget", title_fontsize=8, loc="upper center",
            bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False,
        )  # fmt: skip
    for axis in axes[::PANEL_COLUMNS]:
        axis.set_ylabel("hypervolume, %")
    source = str(progress["ap_source"].iloc[0])
    set_title(figure, f"Hypervolume over evaluations, AP by the {AP_BY[source]}", source)
    note = f"Reference point: {REFERENCE} of each tier. 100 %: AP 100 at no latency; so compare along a line."
    figure.supxlabel(note, fontsize=8, color="0.35", x=0.01, ha="left")
    save_picture(figure, path)


def plot_importance(path: Path | str, importances: Mapping[str, Mapping[str, ChoiceImportance]], source: str) -> None:
    """Draw what drives AP, and what the latency on each device, in the order of the first of them.

    Args:
        path: The PNG to write.
        importances: By quantity and choice, ``AP`` first.
        source: Where the accuracies come from.
    """
    first = next(iter(importances.values()))
    names = sorted(first, key=lambda name: first[name].share)
    figure, axes = make_grid(len(importances), width=3.9, height=0.25 * len(names) + 1.2, share_y=False, columns=4)
    for index, (axis, (quantity, by_choice)) in enumerate(zip(axes, importances.items(), strict=True)):
        found = [by_choice[name] for name in names]
        colours = [RAISING_COLOUR if choice.direction >= 0 else LOWERING_COLOUR for choice in found]
        shares = [100 * choice.share for choice in found]
        errors = [100 * choice.error for choice in found]
        axis.barh(names, shares, xerr=errors, color=colours, error_kw={"lw": 0.8, "ecolor": "0.3"})
        for place, choice in enumerate(found):
            axis.annotate(
                f"{choice.direction:+.2f}", (1, place), xycoords=("axes fraction", "data"), xytext=(-3, 0),
                textcoords="offset points", fontsize=7.5, color="0.3", ha="right", va="center",
            )  # fmt: skip
        axis.set_xlim(0, 1.3 * max(*shares, LEAST_SHARE))
        axis.set_ylim(-0.7, len(names) - 0.3)
        axis.set_title(quantity_title(quantity, source), fontsize=10)
        axis.set_xlabel("share of variance, %")
        axis.tick_params(labelleft=index % 4 == 0, labelsize=8.5)
        axis.grid(axis="x", alpha=0.25)
    set_title(figure, "What drives AP and latency", source)
    note = (
        f"Bars: {METHOD}: the share of variance that is left, on average, with all other choices fixed; "
        "they add up to 100 % or more.\n"
        "Blue: more of it raises the quantity; orange: lowers it. Figures at the right: how much more often "
        "it raises than lowers it, all other choices equal (+1: always raises)."
    )
    figure.supxlabel(note, fontsize=8, color="0.35", x=0.01, ha="left")
    save_picture(figure, path)
