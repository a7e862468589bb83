"""Where an AP comes from: keypoints, sizes of people, crowding of images."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from litepose_ofa.supernet.evaluation.keypoint_ap import crowd_levels
from litepose_ofa.supernet.evaluation.matching import (
    SIZES,
    BoolArray,
    Matches,
    OksMatching,
    PeopleComparison,
)

NEAR = 0.5
"""Least similarity of a keypoint that counts as found: 2.35 x sigma x sqrt(area) away."""


@dataclass(frozen=True, slots=True)
class KeypointAccuracy:
    """How well one keypoint is found.

    Attributes:
        labelled: How often it is labelled, in people who count.
        similarity: Its mean similarity in [0, 1] (1 on the spot) over people who were found: matched at OKS 0.5 as for
            AP50; NaN where it is labelled in none of them.
        recall: Share of all labelled ones that are in someone found, with a similarity of at least 0.5.
    """

    labelled: int
    similarity: float
    recall: float


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """How well some of the people are found.

    Attributes:
        people: Labelled people of the group.
        ap: AP over OKS thresholds 0.5 to 0.95.
        ar: AR over the same.
    """

    people: int
    ap: float
    ar: float


@dataclass(frozen=True, slots=True)
class KeypointBreakdown:
    """Accuracy by part; groups without labelled people are left out.

    Attributes:
        keypoints: By name of the keypoint.
        sizes: By size of the person: area under 32^2, to 96^2 and above, as COCO has it.
        crowding: By crowdIndex of the image, where the file has it: under 0.2, to 0.8 and above, as CrowdPose has it.
    """

    keypoints: Mapping[str, KeypointAccuracy]
    sizes: Mapping[str, GroupAccuracy]
    crowding: Mapping[str, GroupAccuracy]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return it for a JSON file; a similarity of nothing is None."""
        parts: dict[str, Mapping[str, KeypointAccuracy | GroupAccuracy]]
        parts = {"keypoints": self.keypoints, "sizes": self.sizes, "crowding": self.crowding}
        return {
            part: {
                name: {key: None if number != number else number for key, number in asdict(value).items()}
                for name, value in values.items()
            }
            for part, values in parts.items()
        }

    def table(self) -> str:
        """Return it as text, in percent, one line an entry."""
        lines = [_line("keypoint", "labelled", "similarity", "recall")]
        lines += [_line(name, *_shown(k.labelled, k.similarity, k.recall)) for name, k in self.keypoints.items()]
        for title, groups in (("size", self.sizes), ("crowding", self.crowding)):
            if groups:
                lines += ["", _line(title, "people", "AP", "AR")]
                lines += [_line(name, *_shown(group.people, group.ap, group.ar)) for name, group in groups.items()]
        return "\n".join(lines)


def keypoint_breakdown(comparison: PeopleComparison) -> KeypointBreakdown:
    """Return where the AP of a comparison comes from.

    Sizes are those of the OKS area, which for CrowdPose is 0.53 x box; people of other sizes are ignored, not missed.
    """
    by_size = OksMatching(comparison, tuple(SIZES))
    sizes = {name: by_size.matches(position) for position, name in enumerate(SIZES, start=1)}
    levels = crowd_levels(comparison).items()
    return KeypointBreakdown(
        keypoints=_by_keypoint(comparison),
        sizes={name: _group(matches) for name, matches in sizes.items() if matches.labelled.any()},
        crowding={level: _group(comparison.matches, images) for level, images in levels},
    )


def _by_keypoint(comparison: PeopleComparison) -> dict[str, KeypointAccuracy]:
    found, people = comparison.matches.pairs
    is_labelled = comparison.truth.keypoints[:, :, 2] > 0
    labelled, similarity = is_labelled[people], comparison.similarity(found, people)
    totals = is_labelled[np.isin(comparison.truth.images, comparison.images) & ~comparison.ignored].sum(axis=0)
    near = (labelled & (similarity >= NEAR)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = (similarity * labelled).sum(axis=0) / labelled.sum(axis=0)
        recalls = near / totals
    rows = zip(totals.tolist(), means.tolist(), recalls.tolist(), strict=True)
    return {name: KeypointAccuracy(*row) for name, row in zip(comparison.skeleton.keypoints, rows, strict=True)}


def _group(matches: Matches, images: BoolArray | None = None) -> GroupAccuracy:
    weights = np.ones(len(matches.labelled), np.int64) if images is None else images.astype(np.int64)
    precision, recall = matches.precision_recall(weights)
    return GroupAccuracy(int(matches.labelled @ weights), float(precision.mean()), float(recall.mean()))


def _shown(count: int, *shares: float) -> Iterable[str]:
    return str(count), *("-" if share != share else f"{100 * share:.1f}" for share in shares)


def _line(name: str, *columns: str) -> str:
    return f"{name:<16}" + "".join(f"{column:>12}" for column in columns)
