"""The comparison of regressors: held-out subnets are held out, the figures are theirs, the best kind is kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from litepose_ofa.search.accuracy.predictor_quality import (
    compare_regressors,
    cross_validate,
    format_comparison,
    hold_out,
    mean_error,
    require_samples,
)
from litepose_ofa.search.accuracy.regressors import REGRESSORS, TrainingSet
from litepose_ofa.supernet.errors import InputError

MACS = np.random.default_rng(9).permutation(60)


def bent_samples(rows: int = 60) -> TrainingSet:
    """Targets that no straight line ranks."""
    x = np.random.default_rng(0).uniform(-1, 1, size=(rows, 2))
    return TrainingSet(x, 0.4 + 0.2 * x[:, 0] ** 2 + 0.05 * x[:, 1], np.ones((1, 2)))


def test_the_best_by_cross_validation_is_chosen_and_judged_on_unseen_samples(tmp_path: Path) -> None:
    samples = bent_samples()
    held_out = hold_out(np.ones(60, np.bool_), 0.25, np.random.default_rng(1))
    comparison = compare_regressors(
        samples, held_out, macs=MACS, kinds=("ridge", "gaussian_process"), top_k=2, rng=np.random.default_rng(2)
    )
    assert comparison.chosen == "gaussian_process"
    assert sorted([*comparison.rows, *comparison.held_out_rows]) == list(range(60))
    for kind, quality in comparison.held_out.items():
        regressor = REGRESSORS[kind](samples.rows(comparison.rows))
        predicted = regressor.predict_mean(samples.features[held_out])
        truth = samples.targets[held_out]
        assert quality.agreement.kendall_tau.value == pytest.approx(kendalltau(predicted, truth).statistic)
        assert quality.mae.value == pytest.approx(np.abs(predicted - truth).mean())
        assert quality.mae == mean_error(np.abs(predicted - truth))
        best_two = np.argsort(-predicted)[:2]
        assert quality.agreement.regret == pytest.approx(truth.max() - truth[best_two].max())
    figures = json.loads(json.dumps(comparison.to_dict()))
    assert (figures["num_samples"], figures["num_held_out"]) == (60, 15)
    assert set(figures["regressors"]) == {"ridge", "gaussian_process"}
    shown = json.loads(json.dumps(comparison.predictions(samples.targets)))
    assert shown["measured"] == samples.targets.tolist()
    assert np.flatnonzero(shown["held_out"]).tolist() == sorted(held_out.tolist())
    best = REGRESSORS["gaussian_process"](samples.rows(comparison.rows))
    expected = best.predict_mean(samples.features[comparison.held_out_rows])
    np.testing.assert_allclose(np.array(shown["predicted"])[comparison.held_out_rows], expected)
    validated = comparison.cross_validation["gaussian_process"].predicted
    np.testing.assert_array_equal(np.array(shown["predicted"])[comparison.rows], validated)
    quarters = np.split(np.argsort(MACS), 4)
    taus = [kendalltau(np.array(shown["predicted"])[rows], samples.targets[rows]).statistic for rows in quarters]
    within = comparison.held_out["gaussian_process"].tau_within_budgets
    assert within.value == pytest.approx(np.mean(taus))
    assert figures["regressors"]["gaussian_process"]["tau_within_budgets"]["value"] == within.value
    assert f"{within.value:.2f} (" in format_comparison(comparison)


def test_of_kinds_within_a_standard_error_the_simplest_is_chosen() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, size=(60, 2))
    samples = TrainingSet(x, 0.4 + x @ [0.1, 0.05] + 0.03 * x[:, 0] ** 2 + rng.normal(0, 0.03, 60), np.ones((1, 2)))
    comparison = compare_regressors(
        samples,
        np.arange(0, 60, 4),
        macs=MACS,
        kinds=("ridge", "mlp_ensemble", "gaussian_process"),
        rng=np.random.default_rng(0),
    )
    taus = {kind: quality.kendall_tau for kind, quality in comparison.cross_validation.items()}
    assert max(taus, key=lambda kind: taus[kind]) != "ridge", "the case shows nothing: the simplest is the best"
    assert comparison.chosen == "ridge"


@pytest.mark.parametrize("n", [10, 16, 40])
def test_nine_of_ten_intervals_of_a_mean_error_cover(n: int) -> None:
    intervals = [mean_error(np.abs(errors)) for errors in np.random.default_rng(0).normal(size=(4000, n))]
    covered = [found.low <= np.sqrt(2 / np.pi) <= found.high for found in intervals]  # type: ignore[operator]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.025)
    assert mean_error(np.ones(9)).low is None


def test_held_out_targets_do_not_touch_the_choice() -> None:
    samples = bent_samples()
    held_out = np.arange(0, 60, 4)
    changed = samples.targets.copy()
    changed[held_out] = changed[held_out][::-1]
    first, second = (
        compare_regressors(
            replace(samples, targets=targets), held_out, macs=MACS, kinds=("ridge",), rng=np.random.default_rng(0)
        )
        for targets in (samples.targets, changed)
    )
    assert first.cross_validation["ridge"].kendall_tau == second.cross_validation["ridge"].kendall_tau
    np.testing.assert_array_equal(first.held_out["ridge"].predicted, second.held_out["ridge"].predicted)


def test_cross_validation_predicts_each_sample_without_it() -> None:
    samples = bent_samples(12)
    leave_one_out = cross_validate("ridge", samples, np.random.default_rng(0), folds=12, repeats=1)
    for row in range(12):
        rest = np.delete(np.arange(12), row)
        alone = REGRESSORS["ridge"](samples.rows(rest)).predict_mean(samples.features[[row]])
        assert leave_one_out.predicted[row] == pytest.approx(alone[0])


def test_held_out_samples_are_among_the_eligible() -> None:
    eligible = np.arange(40) < 30
    rows = hold_out(eligible, 0.2, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == 8
    assert eligible[rows].all()
    assert len(hold_out(np.ones(10, np.bool_), 0.2, np.random.default_rng(0))) == 3


@pytest.mark.parametrize(
    ("eligible", "share", "message"),
    [
        (np.ones(10, np.bool_), 0.6, "held_out is 0.6; of 10 measured subnets that leaves 4"),
        (np.arange(30) < 5, 0.3, "held_out asks for 9 subnets, but only 5 were drawn without a model"),
    ],
)
def test_impossible_shares_are_refused(eligible: np.ndarray, share: float, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        hold_out(eligible, share, np.random.default_rng(0))


def test_samples_that_nothing_can_be_fitted_to_are_refused() -> None:
    with pytest.raises(InputError, match="9 measured subnets are too few"):
        require_samples(np.ones(9))
    with pytest.raises(InputError, match="sample 4 has no finite AP"):
        require_samples(np.where(np.arange(12) == 4, np.nan, 0.5))
