"""What the pictures of a report share: panels, titles that say whose the accuracies are, a legend for all panels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from litepose_ofa.search.reporting.summary import SURROGATE, SURROGATE_WARNING
from litepose_ofa.supernet.files import replacing

PANEL_COLUMNS = 3

LEAST_WIDTH = 9.5
"""Inches that titles and legends take."""


def make_grid(
    count: int, *, width: float, height: float, share_y: bool, columns: int = PANEL_COLUMNS
) -> tuple[Figure, list[Axes]]:
    """Return a figure of panels in rows, and the panels; sizes are in inches, of one panel."""
    columns = min(count, columns)
    rows = -(-count // columns)
    size = (max(width * columns, LEAST_WIDTH), height * rows + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, sharey=share_y, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def set_title(figure: Figure, title: str, source: str) -> None:
    """Set the title; below that of a surrogate's accuracies it says in red what they are."""
    figure.suptitle(title, fontsize=12.5)
    if source == SURROGATE:
        figure.suptitle(f"{title}\n{SURROGATE_WARNING}", fontsize=12, color="tab:red")


def add_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Explain below all panels what any of them shows, each thing once."""
    entries: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        entries |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in entries}
    figure.legend(
        handles=list(entries.values()), labels=list(entries), loc="outside lower center", ncols=2, fontsize=8.5,
        frameon=False,
    )  # fmt: skip


def save_picture(figure: Figure, path: Path | str) -> None:
    """Write a PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
