"""Joints that annotations lack, filled in from a standing body.

Legend: N people, J joints of the body (``BODY_JOINTS``). Points are in any unit, x right and y down.
"""

import numpy as np

from litepose_ofa.supernet.data.synthetic.poses import (
    FACE,
    JOINT,
    MIRROR,
    TORSO,
    Flags,
    Points,
    SideAngles,
    estimate_statures,
    upright_body,
)

CORE = [*TORSO, JOINT["head"], JOINT["neck"]]
LIMB_CHAINS = tuple(
    tuple(JOINT[f"{side}_{part}"] for part in parts)
    for side in ("left", "right")
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
)
STANDING = upright_body(SideAngles(), SideAngles())[:, :2]
"""A body of stature 1 that faces the camera, shape (J, 2)."""

LEAST_SCALE = 1e-3


def infer_heads(points: Points, present: Flags) -> None:
    """Give people with labelled faces a neck and a crown, which COCO does not label (in place).

    Args:
        points: Shape (N, J, 2).
        present: Which joints are known, shape (N, J).
    """
    shoulders = points[:, TORSO[:2]].mean(axis=1)
    faces = present[:, FACE]
    middle = (points[:, FACE] * faces[..., None]).sum(axis=1) / np.maximum(faces.sum(axis=1), 1)[:, None]
    for name, along in (("neck", 0.35), ("head", 1.7)):
        inferred = ~present[:, JOINT[name]] & faces.any(axis=1) & present[:, TORSO[:2]].all(axis=1)
        points[inferred, JOINT[name]] = (shoulders + along * (middle - shoulders))[inferred]
        present[inferred, JOINT[name]] = True


def complete_body(points: Points, present: Flags) -> tuple[Points, Flags, float] | None:
    """Fill in what one person lacks: torso and head from the standing body that fits best, limbs from where they start.

    A face is filled in if none of it is known and the shoulders show that it is seen.

    Args:
        points: Shape (J, 2).
        present: Which joints are known, shape (J,).

    Returns:
        Joints, shape (J, 2), which of them are known now, shape (J,), and the stature; None if no two joints are apart.
    """
    standing = STANDING[MIRROR] if _faces_away(points, present) else STANDING
    fit = _fit(standing, points, present)
    if fit is None:
        return None
    turn, fitted = fit
    whole, known = np.where(present[:, None], points, fitted), present.copy()
    known[CORE] = True
    for chain in LIMB_CHAINS:
        _complete_limb(chain, standing, turn, whole, known)
    if not present[FACE].any() and not _faces_away(whole, known):
        whole[FACE] = whole[JOINT["head"]] + (standing[FACE] - standing[JOINT["head"]]) @ turn
        known[FACE] = True
    return whole, known, max(float(estimate_statures(whole[None])[0]), 0.5 * _length(turn))


def _faces_away(points: Points, present: Flags) -> bool:
    for left, right in (TORSO[:2], TORSO[2:]):
        if present[[left, right]].all():
            return bool(points[left, 0] < points[right, 0])
    return False


def _fit(standing: Points, points: Points, present: Flags) -> tuple[Points, Points] | None:
    """Turn, scale and shift the standing body onto the known joints, by least squares; the trunk's where it has two.

    Returns:
        Turn and scale, shape (2, 2), to be multiplied from the right; and the whole fitted body, shape (J, 2).
    """
    trunk = [joint for joint in CORE if present[joint]]
    chosen = trunk if len(trunk) > 1 else list(np.flatnonzero(present))
    if len(chosen) < 2:
        return None
    source, target = standing[chosen].mean(axis=0), points[chosen].mean(axis=0)
    x, y = (standing[chosen] - source).T
    u, v = (points[chosen] - target).T
    cosine, sine = np.array([x @ u + y @ v, x @ v - y @ u]) / (x @ x + y @ y)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    if _length(turn) < LEAST_SCALE:
        return None
    return turn, (standing - source) @ turn + target


def _complete_limb(chain: tuple[int, ...], standing: Points, turn: Points, whole: Points, known: Flags) -> None:
    """Fill in the middle and the end of a limb whose start is known (in place)."""
    start, middle, end = chain
    if not known[middle]:
        hanging = (standing[middle] - standing[start]) @ turn
        whole[middle] = (whole[start] + whole[end]) / 2 if known[end] else whole[start] + hanging
    if not known[end]:
        whole[end] = whole[middle] + (standing[end] - standing[middle]) @ turn
    known[[middle, end]] = True


def _length(turn: Points) -> float:
    return float(np.hypot(*turn[0]))
