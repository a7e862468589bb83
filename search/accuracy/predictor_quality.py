"""How well regressors rank: compared by cross-validation, judged on subnets that no choice saw.

Legend: m samples, h held-out samples.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import kendalltau

from litepose_ofa.search.accuracy.regressors import REGRESSORS, Kind, TrainingSet
from litepose_ofa.search.rank_agreement import (
    CONFIDENCE,
    FEWEST_OF_INTERVAL,
    FEWEST_SUBNETS,
    Estimate,
    RankAgreement,
    combined_tau,
    format_estimate,
    rank_agreement,
    tau_with_error,
)
from litepose_ofa.supernet.errors import InputError

QUALITY_FILE = "quality.json"
"""Of a predictor's folder: ``PredictorComparison.to_dict``, and ``predictions`` of that."""

FEWEST_SAMPLES = 10
FOLDS = 5
REPEATS = 2
BUDGETS = 4
"""Groups of nearly equal MACs that taus within budgets are taken in."""

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Quality of a kind of regressor: every sample is predicted by fits that did not see it.

    Kendall's tau and the predictions, shape (m,), are means over repeats; ``mae`` is the mean absolute error in AP.
    """

    kendall_tau: float
    mae: float
    predicted: Floats


@dataclass(frozen=True, slots=True)
class HeldOutQuality:
    """Quality on held-out subnets, with intervals, and their predicted AP (h,).

    ``tau_within_budgets`` is Kendall's tau of all samples, each predicted by a fit that did not see it, among those of
    the same quarter of MACs alone: a search chooses between subnets of nearly one cost, and larger against smaller is
    the easy part of a tau over the whole range.
    """

    predicted: Floats
    agreement: RankAgreement
    mae: Estimate
    tau_within_budgets: Estimate


@dataclass(frozen=True, slots=True)
class PredictorComparison:
    """Kinds of regressors compared by cross-validation on ``rows``, shape (m - h,), and judged on those held out (h,).

    The chosen kind is the simplest whose cross-validated tau is within one standard error of the highest.
    """

    chosen: Kind
    rows: Rows
    held_out_rows: Rows
    cross_validation: dict[Kind, CrossValidation]
    held_out: dict[Kind, HeldOutQuality]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, the intervals with their coverage."""
        kinds = {}
        for kind, quality in self.held_out.items():
            validation = self.cross_validation[kind]
            kinds[kind] = {
                "cross_validation": {"kendall_tau": validation.kendall_tau, "mae": validation.mae},
                "held_out": {**asdict(quality.agreement), "mae": asdict(quality.mae)},
                "tau_within_budgets": asdict(quality.tau_within_budgets),
            }
        sizes = {"num_samples": len(self.rows) + len(self.held_out_rows), "num_held_out": len(self.held_out_rows)}
        return {"chosen": self.chosen, **sizes, "confidence": CONFIDENCE, "regressors": kinds}

    def predictions(self, ap: Floats) -> dict[str, Any]:
        """Return measured AP (m,) and the chosen kind's predictions for JSON, by fits that did not see the sample."""
        predicted = np.empty(len(ap))
        predicted[self.rows] = self.cross_validation[self.chosen].predicted
        predicted[self.held_out_rows] = self.held_out[self.chosen].predicted
        held_out = np.isin(np.arange(len(ap)), self.held_out_rows)
        return {"measured": ap.tolist(), "predicted": predicted.tolist(), "held_out": held_out.tolist()}


def compare_regressors(
    samples: TrainingSet,
    held_out_rows: Rows,
    *,
    macs: NDArray[np.integer[Any]],
    kinds: Sequence[Kind] = tuple(REGRESSORS),
    top_k: int = 3,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    rng: np.random.Generator,
) -> PredictorComparison:
    """Choose among kinds by cross-validation on all but the held-out samples, and judge each kind on these.

    The first kind is chosen, of ``kinds`` from the simplest on, whose tau falls short of the highest by no more than
    the standard error of that difference. Every repeat of the cross-validation has other folds; the regret looks at the
    ``top_k`` best-ranked subnets. ``macs`` are those of the samples, shape (m,).
    """
    budgets = BUDGETS * np.argsort(np.argsort(macs, kind="stable")) // len(macs)
    rows = np.setdiff1d(np.arange(len(samples.targets)), held_out_rows)
    seen, unseen = samples.rows(rows), samples.rows(held_out_rows)
    seed = int(rng.integers(2**32))
    validations = {kind: cross_validate(kind, seen, np.random.default_rng(seed), folds, repeats) for kind in kinds}
    held_out = {}
    for kind in kinds:
        regressor = REGRESSORS[kind](seen)
        predicted = np.clip(regressor.predict_mean(unseen.features), 0, 1)
        unseen_by_fits = np.empty(len(samples.targets))
        unseen_by_fits[rows], unseen_by_fits[held_out_rows] = validations[kind].predicted, predicted
        held_out[kind] = HeldOutQuality(
            predicted,
            rank_agreement(predicted, unseen.targets, top_k=top_k),
            mean_error(np.abs(predicted - unseen.targets)),
            combined_tau([(1, unseen_by_fits, samples.targets)], groups=budgets),
        )
    best = validations[max(kinds, key=lambda kind: validations[kind].kendall_tau)]
    for chosen in kinds:
        pairs = [(1, best.predicted, seen.targets), (-1, validations[chosen].predicted, seen.targets)]
        gap, error = tau_with_error(pairs)
        if gap <= error:
            break
    return PredictorComparison(chosen, rows, held_out_rows, validations, held_out)


def mean_error(errors: Floats) -> Estimate:
    """Return the mean of absolute errors, shape (h,), with an interval by Student's t on the scale of logarithms."""
    mean = float(errors.mean())
    if len(errors) < FEWEST_OF_INTERVAL or mean == 0:
        return Estimate(mean)
    relative = float(errors.std(ddof=1)) / len(errors) ** 0.5 / mean
    factor = float(np.exp(stdtrit(len(errors) - 1, (1 + CONFIDENCE) / 2) * relative))
    return Estimate(mean, mean / factor, mean * factor)


def cross_validate(
    kind: Kind, samples: TrainingSet, rng: np.random.Generator, folds: int = FOLDS, repeats: int = REPEATS
) -> CrossValidation:
    """Predict every sample by fits to the other folds."""
    everything = np.arange(len(samples.targets))
    predicted = np.empty((repeats, len(everything)))
    for repeat in range(repeats):
        for fold in np.array_split(rng.permutation(len(everything)), folds):
            regressor = REGRESSORS[kind](samples.rows(np.setdiff1d(everything, fold)))
            predicted[repeat, fold] = regressor.predict_mean(samples.features[fold])
    taus = np.nan_to_num([kendalltau(row, samples.targets).statistic for row in predicted])
    mae = float(np.abs(predicted - samples.targets).mean())
    return CrossValidation(float(taus.mean()), mae, predicted.mean(axis=0))


def hold_out(eligible: NDArray[np.bool_], share: float, rng: np.random.Generator) -> Rows:
    """Choose a share, between 0 and 1, of all samples to hold out of the eligible ones (m,); in ascending order.

    Raises:
        InputError: If too few samples would be left to choose on.
    """
    wanted = max(FEWEST_SUBNETS, round(share * len(eligible)))
    least = FEWEST_SAMPLES - FEWEST_SUBNETS
    if len(eligible) - wanted < least:
        raise InputError(
            f"held_out is {share!r}; of {len(eligible)} measured subnets that leaves {len(eligible) - wanted} to fit "
            f"a predictor to, and at least {least} are needed"
        )
    candidates = np.flatnonzero(eligible)
    if len(candidates) < wanted:
        raise InputError(f"held_out asks for {wanted} subnets, but only {len(candidates)} were drawn without a model")
    return np.sort(rng.choice(candidates, wanted, replace=False))


def require_samples(ap: Floats) -> None:
    """Refuse too few samples, and an AP that is not finite."""
    if len(ap) < FEWEST_SAMPLES:
        raise InputError(
            f"{len(ap)} measured subnets are too few to fit a predictor, which takes at least {FEWEST_SAMPLES}; "
            "measure more (litepose sample num_subnets=...), or search without one (evaluator=supernet)"
        )
    if not np.isfinite(ap).all():
        raise InputError(f"sample {int(np.argmin(np.isfinite(ap)))} has no finite AP; every sample needs one")


def format_comparison(comparison: PredictorComparison) -> str:
    """Return one line a kind, best first."""
    num_held_out, top_k = len(comparison.held_out_rows), next(iter(comparison.held_out.values())).agreement.top_k
    level = f"{100 * CONFIDENCE:g} %"
    lines = [
        f"{len(comparison.rows)} subnets to choose on, {num_held_out} held out; in brackets {level} intervals",
        f"{'':20}{'tau, cross-val.':17}{'tau, held out':19}{'within budgets':19}{'MAE, AP':17}top-{top_k} regret, AP",
    ]
    ranked = sorted(comparison.held_out, key=lambda kind: -comparison.cross_validation[kind].kendall_tau)
    for kind in ranked:
        quality = comparison.held_out[kind]
        tau, within = (format_estimate(asdict(e)) for e in (quality.agreement.kendall_tau, quality.tau_within_budgets))
        mae = format_estimate(asdict(quality.mae), ".1f", scale=100)
        mark = " *" if kind == comparison.chosen else ""
        validated = f"{comparison.cross_validation[kind].kendall_tau:.2f}"
        regret = f"{100 * quality.agreement.regret:.1f}"
        lines.append(f"{kind + mark:20}{validated:17}{tau:19}{within:19}{mae:17}{regret}")
    return "\n".join([*lines, "within budgets: tau among subnets of the same quarter of MACs, the mean of four"])
