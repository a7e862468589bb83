"""All searches of a workspace in one table, one CSV of their fronts, and one picture.

A workspace holds ``search/<device>/<tier>/`` and ``export/<device>/<tier>/``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from search.cost import CostModel
from search.results import CHOSEN_FILE, FRONT_FILE
from search.sampling import AccuracySamples
from supernet.arch import Arch
from supernet.errors import InputError
from supernet.export.bundle import ARCH_FILE, MANIFEST_FILE
from supernet.files import read_json, replacing

Cell = tuple[str, str]
"""A device and a tier."""


def find_cells(workspace: Path) -> tuple[list[Cell], list[Cell]]:
    """Return the searched (device, tier) pairs that are exported and those that are not, budgets ascending.

    Raises:
        InputError: If nothing was searched and exported.
    """
    found = []
    for path in (workspace / "search").glob(f"*/*/{CHOSEN_FILE}"):
        device, tier = path.parts[-3:-1]
        found.append((device, read_json(path)["budget_ms"], tier))
    cells = [(device, tier) for device, _, tier in sorted(found)]
    exported = [cell for cell in cells if (workspace / "export" / Path(*cell) / MANIFEST_FILE).exists()]
    if not exported:
        raise InputError(f"{workspace}: no search that is exported; run run_search.py and export_subnet.py first")
    return exported, [cell for cell in cells if cell not in exported]


def summarise(workspace: Path, cells: Sequence[Cell]) -> pd.DataFrame:
    """Return one row a device and tier: what was asked, what was chosen, what was measured and checked.

    Columns whose names end in ``_predicted`` come from the accuracy predictor, ``ap_search`` is the AP on the search
    split and ``ap_val`` that of the exported subnet on held-out images; all AP in [0, 1]. ``latency_provenance`` says
    whether the latency table was measured. Of a finetuned subnet ``bit_equal`` is None and ``ap_search`` the AP after
    finetuning.

    Args:
        workspace: The workspace.
        cells: Exported searches.

    Raises:
        InputError: If an export is not of what the search chose.
    """
    rows = []
    for device, tier in cells:
        chosen = read_json(workspace / "search" / device / tier / CHOSEN_FILE)
        folder = workspace / "export" / device / tier
        manifest = read_json(folder / MANIFEST_FILE)
        if manifest["search"] != {key: value for key, value in chosen.items() if key != "arch"}:
            raise InputError(f"{folder}: is not what the search chose last; run export_subnet.py again")
        arch, finetuned = Arch.load(folder / ARCH_FILE), manifest.get("finetuned")
        predicted = chosen["ap_source"] == "predictor" and arch.digest == chosen["arch_digest"]
        rows.append(
            {
                "device": device,
                "tier": tier,
                "budget_ms": chosen["budget_ms"],
                "latency_ms": manifest["latency"]["ms"],
                "latency_low_ms": manifest["latency"]["low_ms"],
                "latency_high_ms": manifest["latency"]["high_ms"],
                "latency_provenance": manifest["latency"]["provenance"],
                "ap_predicted": chosen["ap"] if predicted else None,
                "ap_search": finetuned["ap_search"]["after"] if finetuned else chosen["verified_ap"],
                "ap_val": manifest["accuracy"]["AP"],
                "image_size": arch.image_size,
                "macs": manifest["complexity"]["macs"],
                "params": manifest["complexity"]["params"],
                "bit_equal": None if finetuned else manifest["equal_to_supernet"]["bit_equal"],
                "onnx_max_abs_difference": manifest["onnx"]["max_abs_difference"],
                "arch_digest": arch.digest,
                "folder": str(folder),
            }
        )
    return pd.DataFrame(rows)


def collect_fronts(workspace: Path, cells: Sequence[Cell]) -> pd.DataFrame:
    """Return the fronts of all searches below each other, with the columns ``device`` and ``tier`` before."""
    fronts = []
    for device, tier in cells:
        front = pd.read_csv(workspace / "search" / device / tier / FRONT_FILE)
        front.insert(0, "tier", tier)
        front.insert(0, "device", device)
        fronts.append(front)
    return pd.concat(fronts, ignore_index=True)


def format_summary(summary: pd.DataFrame) -> str:
    """Return the table for a terminal, with a legend of what is estimated, predicted and measured."""
    lines = [
        "device           tier  budget ms  latency ms (80 %)      AP pred.  AP held-out  px   MMACs   params  equal"
        "  folder"
    ]
    for row in summary.to_dict("records"):
        mark = " " if row["latency_provenance"] == "measured" else "~"
        latency = f"{mark}{row['latency_ms']:.4g} ({row['latency_low_ms']:.4g}-{row['latency_high_ms']:.4g})"
        predicted = "-" if pd.isna(row["ap_predicted"]) else f"{100 * row['ap_predicted']:.1f}"
        lines.append(
            f"{row['device']:<15}  {row['tier']:<4}  {row['budget_ms']:>9g}  {latency:<21}  {predicted:>8}  "
            f"{100 * row['ap_val']:>11.1f}  {row['image_size']:<3}  {row['macs'] / 1e6:>5.1f}  {row['params']:>7,}  "
            f"{_equality(row['bit_equal']):<5}  {row['folder']}"
        )
    legend = [
        "~ estimated, not measured: the table is calibrated to published latencies, and extrapolates far from those",
        "networks, as for the tiny space (docs/latency_tables.md).",
        "AP pred. is the accuracy predictor's. AP held-out is measured: the extracted subnet, its BN recalibrated,",
        "on the val split. equal: before recalibration its outputs are bit for bit those of the supernet.",
    ]
    if summary["bit_equal"].isna().any():
        legend.append("tuned: trained on alone after it was cut out, so equal no more.")
    return "\n".join([*lines, *legend])


def _equality(bit_equal: bool | None) -> str:
    if pd.isna(bit_equal):
        return "tuned"
    return "yes" if bit_equal else "NO"


def plot_fronts(
    path: Path, summary: pd.DataFrame, fronts: pd.DataFrame, samples: AccuracySamples, costs: CostModel
) -> None:
    """Draw AP against latency, one panel a device: measured samples, the searches' front, the chosen subnets.

    Args:
        path: The PNG to write.
        summary: From ``summarise``.
        fronts: From ``collect_fronts``.
        samples: Measured subnets.
        costs: Cost model with the latency tables of the summary's devices.
    """
    devices = list(dict.fromkeys(summary["device"]))
    figure = Figure(figsize=(4.6 * len(devices), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(devices), sharey=True, squeeze=False)[0]
    for axis, device in zip(axes, devices, strict=True):
        axis.scatter(
            costs.latency_ms(samples.genomes, device), 100 * samples.ap, s=12, color="0.72", label="measured samples"
        )
        _draw_front(axis, fronts[fronts["device"] == device])
        _draw_chosen(axis, summary[summary["device"] == device])
        estimated = (summary.loc[summary["device"] == device, "latency_provenance"] != "measured").any()
        axis.set_title(device)
        axis.set_xlabel(f"{'estimated' if estimated else 'measured'} latency, ms")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("AP, %")
    axes[-1].legend(loc="lower right", fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw_front(axis: Axes, fronts: pd.DataFrame) -> None:
    points = fronts.sort_values(["latency_ms", "ap"])
    best = points["ap"].cummax()
    front = points[(points["ap"] >= best) & (points["ap"] > best.shift(fill_value=-np.inf))]
    axis.plot(
        front["latency_ms"],
        100 * front["ap"],
        color="tab:blue",
        lw=1.5,
        label=f"front, AP by {points['ap_source'].iloc[0]}",
    )


def _draw_chosen(axis: Axes, chosen: pd.DataFrame) -> None:
    error = np.abs(chosen[["latency_low_ms", "latency_high_ms"]].to_numpy().T - chosen["latency_ms"].to_numpy())
    axis.errorbar(
        chosen["latency_ms"], 100 * chosen["ap_val"], xerr=error, fmt="o", color="tab:red", ms=6, lw=1, capsize=2,
        label="chosen, held-out AP",
    )  # fmt: skip
    for index, budget_ms in enumerate(chosen["budget_ms"]):
        axis.axvline(budget_ms, color="tab:red", lw=0.6, ls=":", label="_" * index + "budgets")
    for _, same in chosen.groupby("arch_digest", sort=False):
        place = (float(same["latency_ms"].iloc[0]), 100 * float(same["ap_val"].iloc[0]))
        label = ", ".join(same["tier"].str.upper())
        axis.annotate(label, place, textcoords="offset points", xytext=(6, -12), fontsize=9)
