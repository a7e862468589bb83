"""Where an AP comes from: keypoints, sizes of people, crowding of images; who is found, and what where nobody is."""

from typing import Any

import numpy as np

from litepose_ofa.supernet.evaluation.intervals import Rate
from litepose_ofa.supernet.evaluation.keypoint_ap import crowd_levels
from litepose_ofa.supernet.evaluation.matching import (
    MAX_PEOPLE,
    SIZES,
    BoolArray,
    IntArray,
    Matches,
    OksMatching,
    PeopleComparison,
)
from litepose_ofa.supernet.validation import Fraction, Whole, settings

NEAR = 0.5
"""Least similarity of a keypoint that counts as found: 2.35 x sigma x sqrt(area) away."""

Breakdown = dict[str, dict[str, dict[str, Any]]]


def keypoint_breakdown(comparison: PeopleComparison) -> Breakdown:
    """Return where the AP of a comparison comes from; groups without labelled people are left out.

    Returns:
        ``keypoints`` by name: ``labelled``, how often it is, in people who count; ``similarity``, its mean in [0, 1]
        (1 on the spot) over people who were found, matched at OKS 0.5 as for AP50, None where it is labelled in none of
        them; ``recall``, the fraction of all labelled ones that are in someone found with a similarity of at least 0.5.
        ``sizes`` by size of the person, as COCO has it (area under 32^2, to 96^2 and above; the OKS area, which for
        CrowdPose is 0.53 x box), and ``crowding`` by crowdIndex of the image, as CrowdPose has it, where the file does:
        ``people``, ``ap`` and ``ar`` over OKS thresholds 0.5 to 0.95.
    """
    by_size = OksMatching(comparison, tuple(SIZES))
    sizes = {name: by_size.matches(position) for position, name in enumerate(SIZES, start=1)}
    anywhere = np.ones(len(comparison.images), np.bool_)
    return {
        "keypoints": _by_keypoint(comparison),
        "sizes": {name: _group(matches, anywhere) for name, matches in sizes.items() if matches.labelled.any()},
        "crowding": {level: _group(comparison.matches, images) for level, images in crowd_levels(comparison).items()},
    }


@settings
class FoundSettings:
    """Whom ``found_people`` looks for, and with what.

    Attributes:
        keypoints: Least labelled keypoints of a person.
        height: Least height of a person's box, of the image's.
        score: Least score of a detection.
    """

    keypoints: Whole = 8
    height: Fraction = 0.3
    score: Fraction = 0.2


def found_people(
    comparison: PeopleComparison, settings: FoundSettings, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Rate | None]:
    """Return how many people are found, and how many where nobody is, with intervals over draws of the images.

    Returns:
        ``people``: of the labelled people that the settings describe, who is matched with a detection of OKS 0.5 and
        above, as for AP50. ``people_free``: detections an image in images without any annotation, not even of crowds or
        people without keypoints; at most 20 an image count, as for AP. None where there are no such people or images.
    """
    truth, images = comparison.truth, comparison.images

    def by_image(annotations: BoolArray) -> IntArray:
        counts: IntArray = np.bincount(truth.images[annotations], minlength=len(truth.image_ids))[images]
        return counts

    labelled = np.count_nonzero(truth.keypoints[:, :, 2] > 0, axis=1)
    is_tall = truth.boxes[:, 3] >= settings.height * truth.sizes[truth.images, 1]
    wanted = ~comparison.ignored & (labelled >= settings.keypoints) & is_tall
    is_found = np.zeros_like(wanted)
    if comparison.labelled.any():
        found, people = comparison.matches.pairs  # by falling score: fewer detections would leave the others' pairs
        is_found[people[comparison.results.scores[found] >= settings.score]] = True
    is_empty = (by_image(np.ones_like(wanted)) == 0).astype(np.int64)
    scores = (comparison.results.scores[comparison.found_rows(image)] for image in range(len(images)))
    detections = np.array([np.count_nonzero(each >= settings.score) for each in scores])
    drawn = {"resamples": resamples, "seed": seed}
    return {
        "people": Rate.over_images(by_image(wanted & is_found), by_image(wanted), **drawn),
        "people_free": Rate.over_images(detections * is_empty, is_empty, **drawn, most=MAX_PEOPLE),
    }


def breakdown_table(breakdown: Breakdown) -> str:
    """Return a breakdown as text, in percent, one line an entry."""
    headings = {"keypoints": ("keypoint", "labelled", "similarity", "recall")}
    headings |= {part: (name, "people", "AP", "AR") for part, name in (("sizes", "size"), ("crowding", "crowding"))}
    tables = [
        "\n".join([_line(*heading), *(_line(name, *row.values()) for name, row in breakdown[part].items())])
        for part, heading in headings.items()
        if breakdown[part]
    ]
    return "\n\n".join(tables)


def _by_keypoint(comparison: PeopleComparison) -> dict[str, dict[str, Any]]:
    found, people = comparison.matches.pairs
    is_labelled = comparison.truth.keypoints[:, :, 2] > 0
    labelled, similarity = is_labelled[people], comparison.similarity(found, people)
    totals = is_labelled[np.isin(comparison.truth.images, comparison.images) & ~comparison.ignored].sum(axis=0)
    near = (labelled & (similarity >= NEAR)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        means, recalls = (similarity * labelled).sum(axis=0) / labelled.sum(axis=0), near / totals
    known = [[None if np.isnan(value) else value for value in values.tolist()] for values in (means, recalls)]
    rows = zip(totals.tolist(), *known, strict=True)
    return {
        name: dict(zip(("labelled", "similarity", "recall"), row, strict=True))
        for name, row in zip(comparison.skeleton.keypoints, rows, strict=True)
    }


def _group(matches: Matches, images: BoolArray) -> dict[str, Any]:
    weights = images.astype(np.int64)
    precision, recall = matches.precision_recall(weights)
    return {"people": int(matches.labelled @ weights), "ap": float(precision.mean()), "ar": float(recall.mean())}


def _line(name: str, *columns: str | float | None) -> str:
    shown = ("-" if value is None else f"{100 * value:.1f}" if isinstance(value, float) else value for value in columns)
    return f"{name:<16}" + "".join(f"{column:>12}" for column in shown)
