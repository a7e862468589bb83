"""Rank fidelity: does the supernet rank subnets as training each of them alone would?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from litepose_ofa.search.rank_agreement import CONFIDENCE, combined_tau, format_estimate, rank_agreement
from litepose_ofa.supernet.errors import InputError, require

Group = Literal["spread", "equal_macs"]
"""Subnets spread over the whole space, or subnets of different shapes and nearly equal MACs."""

GROUP_LABELS = {"spread": "spread over the space", "equal_macs": "equal MACs"}


@dataclass(frozen=True, slots=True)
class FidelityRecord:
    """One subnet of the study: its AP in [0, 1] with the supernet's weights, and trained alone, one a training seed."""

    group: Group
    arch_digest: str
    macs: int
    inherited_ap: float
    trained_aps: tuple[float, ...]

    def __post_init__(self) -> None:
        require(len(self.trained_aps) > 0, f"trained_aps of {self.arch_digest}", self.trained_aps, "one AP or more")
        for ap in (self.inherited_ap, *self.trained_aps):
            require(0 <= ap <= 1, f"an AP of {self.arch_digest}", ap, "from 0 to 1")

    @property
    def truth(self) -> float:
        """AP of training it alone: the mean over seeds."""
        return float(np.mean(self.trained_aps))


def fidelity_report(records: Sequence[FidelityRecord], *, top_k: int = 3) -> dict[str, Any]:
    """Summarise a study, one entry a group: agreement of inherited AP and of MACs with training alone.

    A group without records is left out. The regret looks at the ``top_k`` best-ranked subnets.

    Returns:
        Plain values for JSON. ``groups`` maps a group to ``num_subnets``, ``num_seeds`` (the training seeds that all
        its subnets have), ``macs_range``, ``inherited`` and ``macs`` (a ``RankAgreement`` each) and ``tau_gain``
        (Kendall's tau of inherited AP minus that of MACs). If there are several seeds, also ``noise_ceiling``, the mean
        tau of one seed's APs with another's, and ``inherited_one_seed``, that of inherited AP with one seed's: training
        noise lowers these two alike.
    """
    require(len(records) > 0, "records", [], "one or more")
    groups = {}
    for name in get_args(Group):
        group = [record for record in records if record.group == name]
        if group:
            try:
                groups[name] = _summarise_group(group, top_k)
            except InputError as error:
                raise InputError(f"group {name}: {error}") from None
    return {"confidence": CONFIDENCE, "top_k": top_k, "groups": groups}


def _summarise_group(group: Sequence[FidelityRecord], top_k: int) -> dict[str, Any]:
    digests = [record.arch_digest for record in group]
    repeated = [digest for digest in digests if digests.count(digest) > 1]
    require(not repeated, "a subnet that occurs twice", repeated[:1], "there once")
    inherited = np.array([record.inherited_ap for record in group])
    macs = np.array([record.macs for record in group], np.float64)
    truth = np.array([record.truth for record in group])
    num_seeds = min(len(record.trained_aps) for record in group)
    seeds = np.array([record.trained_aps[:num_seeds] for record in group]).T
    summary = {
        "num_subnets": len(group),
        "num_seeds": num_seeds,
        "macs_range": [int(macs.min()), int(macs.max())],
        "inherited": asdict(rank_agreement(inherited, truth, top_k=top_k)),
        "macs": asdict(rank_agreement(macs, truth, top_k=top_k)),
        "tau_gain": asdict(combined_tau([(1, inherited, truth), (-1, macs, truth)])),
    }
    if num_seeds > 1:
        pairs = list(combinations(seeds, 2))
        summary["noise_ceiling"] = asdict(combined_tau([(1 / len(pairs), *pair) for pair in pairs]))
        one_seed = [(1 / num_seeds, inherited, seed) for seed in seeds]
        summary["inherited_one_seed"] = asdict(combined_tau(one_seed))
    return summary


def format_fidelity(report: dict[str, Any]) -> str:
    """Return a report for a terminal, a column a group, with a line on what each figure means."""
    columns = [format_group(name, group) for name, group in report["groups"].items()]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    lines = [f"{label:<36}" + "".join(f"{column.get(label, '-'):<26}" for column in columns) for label in labels]
    legend = [
        "Truth is the AP of each subnet trained alone; inherited AP is the same subnet with the supernet's weights.",
        "Kendall tau: over all pairs of subnets, the share in the same order as the truth minus the share in the other",
        "order; 1 is the same ranking, 0 none in common. Spearman: the correlation of the ranks.",
        "Gain over MACs: what the supernet knows beyond size. Over the spread larger is mostly better, so MACs alone",
        "rank well; among subnets of equal MACs they cannot, and the gain tells.",
        f"Regret: AP points lost by taking the best of the {report['top_k']} ranked highest and not the best of all.",
    ]
    if any("noise_ceiling" in group for group in report["groups"].values()):
        legend += [
            "Two training seeds: tau of one seed's APs with another's. Training noise limits a supernet's tau alike:",
            "the figure to compare is that of inherited AP with one seed.",
        ]
    legend.append(f"In brackets: {100 * report['confidence']:g} % intervals over the subnets.")
    return "\n".join([*(line.rstrip() for line in lines), "", *legend])


def format_group(name: str, group: dict[str, Any]) -> dict[str, str]:
    """Return the figures of a group of subnets by their labels, as text."""
    inherited, macs = group["inherited"], group["macs"]
    low, high = group["macs_range"]
    column = {
        "": GROUP_LABELS[name],
        "subnets": f"{group['num_subnets']}",
        "MMACs": f"{low / 1e6:,.1f}-{high / 1e6:,.1f}",
        "Kendall tau, inherited AP": format_estimate(inherited["kendall_tau"]),
        "Kendall tau, MACs": format_estimate(macs["kendall_tau"]),
        "  gain over MACs": format_estimate(group["tau_gain"], "+.2f"),
        "Spearman, inherited AP": f"{inherited['spearman']:.2f}",
        "Spearman, MACs": f"{macs['spearman']:.2f}",
        "regret, AP points, inherited AP": f"{100 * inherited['regret']:.1f}",
        "regret, AP points, MACs": f"{100 * macs['regret']:.1f}",
    }
    if "noise_ceiling" in group:
        column["Kendall tau, two training seeds"] = format_estimate(group["noise_ceiling"])
        column["  inherited AP, one seed"] = format_estimate(group["inherited_one_seed"])
    return column
