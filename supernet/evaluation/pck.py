"""PCK@0.2: the percentage of keypoints that are within a fifth of the torso of where they are labelled.

Legend: A annotations, K keypoints.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.intervals import Rate
from litepose_ofa.supernet.evaluation.matching import FloatArray, IntArray, PeopleComparison

PCK_THRESHOLD = 0.2

TORSO = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
"""Its length is the distance of the first pair, or of the second where the first is not labelled."""


@dataclass(frozen=True, slots=True)
class Pck:
    """The percentage of correct keypoints as a fraction: plain values, kept in records.

    Attributes:
        threshold: Of the distance, in torsos.
        people: Who counts.
        without_torso: Labelled people who do not.
        all: Over all labelled keypoints of those who count.
        keypoints: By name; None where it is labelled on none of them.
    """

    threshold: float
    people: int
    without_torso: int
    all: Rate
    keypoints: dict[str, Rate | None]


def measure_pck(comparison: PeopleComparison, *, resamples: int = 1000, seed: int = 0) -> Pck:
    """Return PCK@0.2 of a comparison, with intervals over ``resamples`` draws of the images, none if 0.

    A labelled keypoint is correct if the person's detection has it at most 0.2 torsos away. The torso is the labelled
    distance from the left shoulder to the right hip, and the mean is over all labelled keypoints of all people, as on
    Leeds Sports Pose. That protocol shows a network one person whose keypoints are all labelled; beyond it:

    - Where the left shoulder or the right hip is not labelled, the torso is the other diagonal; who has neither does
      not count.
    - People and detections of an image are paired so that the sum of OKS is greatest, however low it is: everyone has
      one detection at most, and a detection one person. It takes the place of the protocol's given position; the
      detection of the best score is often of somebody in view who is not labelled. As for AP, an image has at most 20
      detections, of any score.
    - Keypoints of people without a detection are wrong, and those that the detection lacks (score 0).

    Sources: Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts (TPAMI 2013), for PCK; Sapp
    and Taskar, MODEC (CVPR 2013), for the torso; eval_pck.m of github.com/bearpaw/eval_pose, with which results on LSP
    are computed.

    Raises:
        InputError: If the skeleton lacks a keypoint of the torso, or nobody has one labelled.
    """
    truth, names = comparison.truth, comparison.skeleton.keypoints
    torsos = _torsos(comparison)
    counted = ~comparison.ignored & ~np.isnan(torsos) & np.isin(truth.images, comparison.images)
    if not counted.any():
        raise InputError("nobody has a shoulder and the hip of the other side labelled")
    found, people = _pairs(comparison)
    labels, results = truth.keypoints[people].astype(float), comparison.results.keypoints[found].astype(float)
    distances = np.linalg.norm(results[..., :2] - labels[..., :2], axis=-1)
    is_labelled = (truth.keypoints[:, :, 2] > 0) & counted[:, None]
    is_correct = np.zeros_like(is_labelled)
    is_correct[people] = (distances <= PCK_THRESHOLD * torsos[people, None]) & (results[..., 2] > 0)
    correct, labelled = (np.zeros((len(truth.image_ids), len(names)), np.int64) for _ in range(2))
    np.add.at(correct, truth.images, is_correct & is_labelled)
    np.add.at(labelled, truth.images, is_labelled)
    correct, labelled = correct[comparison.images], labelled[comparison.images]
    everything = Rate.over_images(correct.sum(axis=1), labelled.sum(axis=1), resamples=resamples, seed=seed)
    assert everything is not None
    return Pck(
        PCK_THRESHOLD,
        people=int(counted.sum()),
        without_torso=int(comparison.labelled.sum() - counted.sum()),
        all=everything,
        keypoints={
            name: Rate.over_images(correct[:, index], labelled[:, index], resamples=resamples, seed=seed)
            for index, name in enumerate(names)
        },
    )


def _torsos(comparison: PeopleComparison) -> FloatArray:
    """Return the length of every annotation's torso in pixels, NaN where it is not labelled, shape (A,)."""
    skeleton, keypoints = comparison.skeleton, comparison.truth.keypoints.astype(float)
    for name in (name for pair in TORSO for name in pair):
        if name not in skeleton.keypoints:
            raise InputError(f"the skeleton {skeleton.name} has no {name}")
    lengths = []
    for pair in TORSO:
        ends = keypoints[:, [skeleton.keypoints.index(name) for name in pair]]
        length = np.linalg.norm(ends[:, 0, :2] - ends[:, 1, :2], axis=-1)
        lengths.append(np.where((ends[:, :, 2] > 0).all(axis=1), length, np.nan))
    return np.where(np.isnan(lengths[0]), lengths[1], lengths[0])


def _pairs(comparison: PeopleComparison) -> tuple[IntArray, IntArray]:
    """Return the rows of detections and of the labelled people whom they are paired with."""
    found, people = [], []
    for image, place in enumerate(comparison.images):
        truths = comparison.truth.of_image(place)
        wanted = ~comparison.ignored[truths]
        rows, columns = linear_sum_assignment(comparison.oks(image)[:, wanted], maximize=True)
        found.append(comparison.found_rows(image)[rows])
        people.append(truths[wanted][columns])
    return np.concatenate(found), np.concatenate(people)
