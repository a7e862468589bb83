"""Picture of a predictor's quality."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.predictor_quality import PredictorComparison
from litepose_ofa.supernet.files import replacing

LABELS = {
    "ridge": "ridge",
    "gaussian_process": "Gaussian process",
    "boosting": "gradient boosting",
    "mlp_ensemble": "MLP ensemble",
}


def plot_predictor(path: Path | str, comparison: PredictorComparison, ap: NDArray[np.float64]) -> None:
    """Draw measured against predicted AP, one panel a kind of regressor, the chosen one in bold.

    Args:
        path: The PNG to write.
        comparison: The kinds compared.
        ap: Measured AP of all samples, shape (m,).
    """
    kinds = list(comparison.held_out)
    figure = Figure(figsize=(3.4 * len(kinds) + 0.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    ends = [100 * ap.min(), 100 * ap.max()]
    for axis, kind in zip(axes, kinds, strict=True):
        held_out, validated = comparison.held_out[kind], comparison.cross_validation[kind].predicted
        axis.plot(ends, ends, color="0.6", lw=0.8)
        axis.scatter(100 * validated, 100 * ap[comparison.rows], s=14, color="0.7", label="cross-validated")
        axis.errorbar(
            100 * held_out.predicted,
            100 * comparison.measured,
            xerr=100 * held_out.std,
            fmt="o",
            ms=4,
            color="tab:blue",
            ecolor="tab:blue",
            elinewidth=0.6,
            label="held out, \N{PLUS-MINUS SIGN} standard deviation",
        )
        tau = held_out.agreement.kendall_tau
        weight = "bold" if kind == comparison.chosen else "normal"
        title = f"{LABELS[kind]}\nKendall tau {tau.value:.2f} ({tau.low:.2f}, {tau.high:.2f})"
        axis.set_title(f"{title}\nmean absolute error {100 * held_out.mae.value:.1f} AP", fontsize=9, weight=weight)
        axis.set_xlabel("predicted AP, %")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("measured AP, %")
    axes[0].legend(fontsize=7, loc="upper left", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
