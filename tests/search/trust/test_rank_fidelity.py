"""The report of a study: groups, seeds, gain over MACs, text and picture; refusals."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from litepose_ofa.search.trust.rank_fidelity import FidelityRecord, Group, fidelity_report, format_fidelity
from litepose_ofa.supernet.errors import InputError


def study(seeds: int = 1) -> list[FidelityRecord]:
    """Over the spread AP follows MACs; at equal MACs it does not, and inherited AP follows the truth nearly."""
    rng = np.random.default_rng(0)
    records = []
    groups: tuple[Group, ...] = ("spread", "equal_macs")
    for group in groups:
        for i in range(10):
            macs = 8_000_000 + 3_000_000 * i if group == "spread" else 18_000_000 + 10_000 * (i * 7 % 10)
            truth = 0.3 + 0.03 * i
            trained = tuple((truth + rng.normal(0, 0.01, seeds)).tolist())
            inherited = float(truth - 0.1 + rng.normal(0, 0.01))
            records.append(FidelityRecord(group, f"{group}-{i}", macs, inherited, trained))
    return records


def test_a_group_is_summarised() -> None:
    records = study()
    report = fidelity_report(records, top_k=2)
    assert json.loads(json.dumps(report)) == report
    assert set(report["groups"]) == {"spread", "equal_macs"}
    for name, group in report["groups"].items():
        rows = [record for record in records if record.group == name]
        truth = [record.truth for record in rows]
        tau = kendalltau([record.inherited_ap for record in rows], truth).statistic
        size_tau = kendalltau([record.macs for record in rows], truth).statistic
        assert group["num_subnets"] == group["inherited"]["num_subnets"] == 10
        assert group["inherited"]["kendall_tau"]["value"] == pytest.approx(tau)
        assert group["macs"]["kendall_tau"]["value"] == pytest.approx(size_tau)
        assert group["tau_gain"]["value"] == pytest.approx(tau - size_tau)
        assert group["macs_range"] == [min(r.macs for r in rows), max(r.macs for r in rows)]
        assert "noise_ceiling" not in group
    assert report["groups"]["spread"]["tau_gain"]["low"] <= 0
    assert report["groups"]["equal_macs"]["tau_gain"]["low"] > 0.2


def test_seeds_give_a_noise_ceiling() -> None:
    records = study(seeds=3)
    group = fidelity_report(records)["groups"]["equal_macs"]
    rows = [record for record in records if record.group == "equal_macs"]
    seeds = np.array([record.trained_aps for record in rows]).T
    pairs = [kendalltau(seeds[i], seeds[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
    assert group["num_seeds"] == 3
    assert group["noise_ceiling"]["value"] == pytest.approx(np.mean(pairs))
    inherited = [record.inherited_ap for record in rows]
    single = [kendalltau(inherited, seed).statistic for seed in seeds]
    assert group["inherited_one_seed"]["value"] == pytest.approx(np.mean(single))
    truth = [np.mean(record.trained_aps) for record in rows]
    assert group["inherited"]["kendall_tau"]["value"] == pytest.approx(kendalltau(inherited, truth).statistic)


def test_seeds_that_only_some_have_do_not_count_for_the_ceiling() -> None:
    records = study(seeds=2)
    records[3] = FidelityRecord("spread", "short", records[3].macs, 0.3, records[3].trained_aps[:1])
    groups = fidelity_report(records)["groups"]
    assert (groups["spread"]["num_seeds"], groups["equal_macs"]["num_seeds"]) == (1, 2)
    assert "noise_ceiling" not in groups["spread"]


def test_the_text_has_every_figure_and_explains_it() -> None:
    report = fidelity_report(study(seeds=2), top_k=2)
    text = format_fidelity(report)
    for group in report["groups"].values():
        for figure in (group["inherited"]["kendall_tau"], group["macs"]["kendall_tau"], group["noise_ceiling"]):
            assert f"{figure['value']:.2f} ({figure['low']:.2f}, {figure['high']:.2f})" in text
        assert f"{group['tau_gain']['value']:+.2f}" in text
    only = format_fidelity(fidelity_report([record for record in study() if record.group == "spread"]))
    assert "equal MACs  " not in only
    assert "seed" not in only


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trained_aps": ()}, "trained_aps of abc is .*; it must be one AP or more"),
        ({"inherited_ap": float("nan")}, "an AP of abc is nan; it must be from 0 to 1"),
        ({"trained_aps": (0.5, 50.0)}, "an AP of abc is 50.0"),
    ],
)
def test_impossible_records(change: dict[str, Any], message: str) -> None:
    values = {"group": "spread", "arch_digest": "abc", "macs": 1, "inherited_ap": 0.5, "trained_aps": (0.5,)}
    with pytest.raises(InputError, match=message):
        FidelityRecord(**{**values, **change})


def test_studies_that_tell_nothing_are_refused() -> None:
    records = study()
    with pytest.raises(InputError, match=r"records is \[\]; it must be one or more"):
        fidelity_report([])
    with pytest.raises(InputError, match="group equal_macs: the number of subnets is 2; it must be 3 or more"):
        fidelity_report(records[:12], top_k=2)
    with pytest.raises(InputError, match=r"group spread: a subnet that occurs twice is \['spread-0'\]"):
        fidelity_report([*records, records[0]])
