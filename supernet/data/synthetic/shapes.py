"""Figures of rendered people as shapes: which parts a body has and in which order they cover each other.

Places are in image pixels, pixel i covering [i, i + 1). Colours are RGB, 0 to 255.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.synthetic.looks import (
    FOREARM,
    SHANK,
    Colour,
    Look,
)
from litepose_ofa.supernet.data.synthetic.poses import JOINT, Pose

Places = npt.NDArray[np.float64]

SHADES = {"right": (0.0, 0.55), "left": (0.5, 0.0)}
"""How far the limbs of a side go towards white and towards black, which shows the side of a limb by itself.

Mirrored images, whose sides are relabelled, contradict it; in them the face tells which way a person faces.
"""


class Limb(NamedTuple):
    """A bone: its joints without their side, and its thickness over the stature."""

    start: str
    end: str
    thickness: float


LIMBS = (
    Limb("hip", "knee", 0.08),
    Limb("knee", "ankle", 0.062),
    Limb("shoulder", "elbow", 0.064),
    Limb("elbow", "wrist", 0.052),
)
"""In the order of a look's bones."""

TORSO_PART, HEAD_PART, FIRST_LIMB_PART = 1, 2, 3
"""Numbers of the parts; 0 is no part."""


def limb_part(bone: int, side: str) -> int:
    """Return the number of a limb's part."""
    return FIRST_LIMB_PART + 2 * bone + (side == "left")


class Shape(NamedTuple):
    """A bar with round ends (two places), a polygon (more), or an ellipse (its centre).

    Attributes:
        part: Number of the part it belongs to.
        colour: Its colour.
        places: In image pixels, shape (P, 2).
        size: Thickness of a bar in pixels; width, height in pixels and turn in degrees of an ellipse; else empty.
    """

    part: int
    colour: Colour
    places: Places
    size: tuple[float, ...] = ()

    @property
    def reach(self) -> float:
        """Most that it extends beyond its places, in pixels."""
        return max(self.size[:2], default=0.0) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A pose put into an image.

    Attributes:
        pose: Which joints are known and how near they are.
        points: Joints in image pixels, shape (J, 2).
        stature: Standing height in pixels.
        look: Colours and build.
    """

    pose: Pose
    points: Places
    stature: float
    look: Look

    @property
    def faces_away(self) -> bool:
        """Whether the camera sees the back."""
        return bool(self.points[JOINT["left_shoulder"], 0] < self.points[JOINT["right_shoulder"], 0])


def figure_shapes(figure: Figure) -> Iterator[Shape]:
    """Yield a figure's shapes: later ones cover earlier ones."""
    limbs = sorted(_limbs_by_nearness(figure))
    yield from _limbs(figure, [(bone, side) for nearness, bone, side in limbs if nearness < 0])
    if figure.look.long_hair and not figure.faces_away:
        yield _long_hair(figure)
    yield from _torso(figure)
    yield from _head(figure)
    yield from _limbs(figure, [(bone, side) for nearness, bone, side in limbs if nearness >= 0])


def _limbs_by_nearness(figure: Figure) -> Iterator[tuple[float, int, str]]:
    """Yield how near to the camera the middle of each limb is."""
    depth = figure.pose.depth
    for bone, limb in enumerate(LIMBS):
        for side in SHADES:
            yield float(depth[JOINT[f"{side}_{limb.start}"]] + depth[JOINT[f"{side}_{limb.end}"]]) / 2, bone, side


def _limbs(figure: Figure, limbs: Iterable[tuple[int, str]]) -> Iterator[Shape]:
    for bone, side in limbs:
        joints = [JOINT[f"{side}_{part}"] for part in (LIMBS[bone].start, LIMBS[bone].end)]
        if figure.pose.present[joints].all():
            start, end = figure.points[joints]
            part, thickness = limb_part(bone, side), LIMBS[bone].thickness * figure.look.widths[bone]
            if figure.look.shoes is not None and bone in (SHANK, FOREARM):
                yield _extremity(figure, bone, side, end - start, end)
            yield _bar(figure, part, towards(figure.look.bones[bone], *SHADES[side]), (start, end), thickness)


def _extremity(figure: Figure, bone: int, side: str, along: Places, joint: Places) -> Shape:
    """Return the foot or the hand at the end of a limb, as part of it."""
    look, unit = figure.look, along / max(float(np.hypot(*along)), 1e-6)
    if bone == FOREARM:
        reach, colour, thickness = unit, look.skin, 0.045
    else:
        outwards = 1.0 if (side == "left") != figure.faces_away else -1.0
        reach, colour, thickness = unit + np.array([0.7 * outwards, 0.0]), look.shoes or look.skin, 0.05
    ends = (joint, joint + 0.035 * figure.stature * reach)
    return _bar(figure, limb_part(bone, side), towards(colour, *SHADES[side]), ends, thickness * look.widths[bone])


def _torso(figure: Figure) -> Iterator[Shape]:
    look, points = figure.look, figure.points
    corners = points[[JOINT[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]]
    yield Shape(TORSO_PART, look.upper, corners)
    for edge in ((0, 1), (1, 2), (2, 3), (3, 0)):
        yield _bar(figure, TORSO_PART, look.upper, corners[list(edge)], 0.05 * look.build)
    yield _bar(figure, TORSO_PART, look.skin, (corners[:2].mean(axis=0), points[JOINT["neck"]]), 0.05 * look.build)


def _head(figure: Figure) -> Iterator[Shape]:
    look, points = figure.look, figure.points
    crown, neck = points[JOINT["head"]], points[JOINT["neck"]]
    yield _head_oval(crown, neck, look.hair)
    if figure.faces_away:
        if look.long_hair:
            yield _long_hair(figure)
    else:
        yield from _face(figure, crown, neck)
    if look.cap is not None:
        yield _head_oval(crown, crown + 0.5 * (neck - crown), look.cap, broad=1.7)


def _face(figure: Figure, crown: Places, neck: Places) -> Iterator[Shape]:
    look = figure.look
    for ear in ("left_ear", "right_ear"):
        yield from _dot(figure, ear, 0.016, look.skin)
    aside = np.zeros(2)
    if look.shoes is not None and figure.pose.present[JOINT["nose"]]:
        aside[0] = 0.35 * (figure.points[JOINT["nose"], 0] - (crown + neck)[0] / 2)
    yield _head_oval(crown + 0.22 * (neck - crown) + aside, neck + aside, look.skin)
    for eye in ("left_eye", "right_eye"):
        yield from _dot(figure, eye, 0.011, (20, 20, 30))
    yield from _dot(figure, "nose", 0.012, towards(look.skin, 0.0, 0.35))


def _head_oval(top: Places, bottom: Places, colour: Colour, *, broad: float = 1.0) -> Shape:
    dx, dy = bottom - top
    length = float(np.hypot(dx, dy))
    axes = max(0.8 * broad * length, 2.0), max(1.04 * length, 2.0)
    return Shape(HEAD_PART, colour, ((top + bottom) / 2)[None], (*axes, float(np.degrees(np.arctan2(-dx, dy)))))


def _long_hair(figure: Figure) -> Shape:
    crown, neck = figure.points[JOINT["head"]], figure.points[JOINT["neck"]]
    return _head_oval(crown, neck + 0.25 * (neck - crown), figure.look.hair, broad=0.85)


def _dot(figure: Figure, joint: str, radius: float, colour: Colour) -> Iterator[Shape]:
    if figure.pose.present[JOINT[joint]]:
        place = figure.points[JOINT[joint]]
        yield _bar(figure, HEAD_PART, colour, (place, place), 2 * radius)


def _bar(figure: Figure, part: int, colour: Colour, ends: Sequence[Places] | Places, thickness: float) -> Shape:
    """Return a bar whose thickness is a fraction of the stature."""
    return Shape(part, colour, np.array(ends), (max(1, round(thickness * figure.stature)),))


def towards(colour: Colour, white: float, black: float) -> Colour:
    """Return a colour on its way to white, and that on its way to black, by these shares."""
    red, green, blue = ((channel + white * (255 - channel)) * (1 - black) for channel in colour)
    return red, green, blue
