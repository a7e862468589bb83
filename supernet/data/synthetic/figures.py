"""Figures of rendered people: what they look like, and which shapes a body has.

Legend: J joints of the body. Places are in image pixels, pixel i covering [i, i + 1). Colours are RGB, 0 to 255.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.synthetic.poses import FACE, JOINT, Points, Pose

Colour = tuple[float, float, float]

SHANK, FOREARM = 1, 3
"""Places of the bones that end in a foot or a hand, in ``LIMBS`` and in a look's tuples."""

SHADES = {"right": (0.0, 0.55), "left": (0.5, 0.0)}
"""How far the limbs of a side go towards white and towards black, which shows the side of a limb by itself.

Mirrored images, whose sides are relabelled, contradict it; in them the face tells which way a person faces.
"""


LIMBS = (
    ("hip", "knee", 0.08),
    ("knee", "ankle", 0.062),
    ("shoulder", "elbow", 0.064),
    ("elbow", "wrist", 0.052),
)
"""Thigh, shank, upper arm and forearm: joints without their side, and thickness over the stature."""

TORSO_PART, HEAD_PART, FIRST_LIMB_PART = 1, 2, 3
"""Numbers of the parts; 0 is no part."""

NUM_PARTS = FIRST_LIMB_PART + 2 * len(LIMBS)


@dataclass(frozen=True, slots=True)
class Look:
    """Looks of one person: colours of skin, hair, torso and bones, and how stout torso and bones are (1 is the mean).

    ``shoes`` is the colour of the feet, None for neither feet nor hands; ``cap`` that of a cap, if there is one.
    """

    skin: Colour
    hair: Colour
    upper: Colour
    bones: tuple[Colour, Colour, Colour, Colour]
    build: float
    widths: tuple[float, float, float, float]
    shoes: Colour | None = None
    long_hair: bool = False
    cap: Colour | None = None


def plain_look(rng: np.random.Generator) -> Look:
    """Draw colours and build of a person."""
    tone, dark = rng.uniform(0.25, 1.0), rng.uniform(0.1, 0.9)
    skin = (80 + 165 * tone, 50 + 145 * tone, 35 + 125 * tone)
    upper, lower = vivid(rng), vivid(rng)
    build = rng.uniform(0.85, 1.2)
    bones = (lower, lower, upper, skin)
    return Look(skin, (150 * dark, 110 * dark, 70 * dark), upper, bones, build, (build, build, build, build))


def varied_look(rng: np.random.Generator) -> Look:
    """Draw skin, hair, clothes, shoes and the width of every part."""
    skin = skin_colour(rng)
    upper, lower = cloth_colour(rng), cloth_colour(rng)
    bones = (lower, lower if rng.random() < 0.7 else skin, upper, upper if rng.random() < 0.5 else skin)
    build, leg, arm = rng.uniform(0.8, 1.5), rng.uniform(0.75, 1.3), rng.uniform(0.75, 1.3)
    dark = rng.uniform(0.08, 1.2)
    return Look(
        skin=skin,
        hair=(160 * dark, rng.uniform(100, 140) * dark, rng.uniform(50, 100) * dark),
        upper=upper,
        bones=bones,
        build=build,
        widths=(leg, leg * rng.uniform(0.8, 1.1), arm, arm * rng.uniform(0.8, 1.1)),
        shoes=cloth_colour(rng),
        long_hair=rng.random() < 0.35,
        cap=cloth_colour(rng) if rng.random() < 0.15 else None,
    )


def vivid(rng: np.random.Generator) -> Colour:
    """Draw any colour but the darkest and the lightest."""
    red, green, blue = rng.uniform(30, 225, 3).tolist()
    return red, green, blue


def cloth_colour(rng: np.random.Generator) -> Colour:
    """Draw any colour; half of them are greyish, as clothes are."""
    red, green, blue = vivid(rng)
    grey, keep = (red + green + blue) / 3, 0.25 if rng.random() < 0.5 else 1.0
    return grey + keep * (red - grey), grey + keep * (green - grey), grey + keep * (blue - grey)


def skin_colour(rng: np.random.Generator) -> Colour:
    """Draw a colour of skin from dark to light."""
    tone, warmth = rng.uniform(0.1, 1.0), rng.uniform(0.85, 1.1)
    return 70 + 175 * tone, (45 + 150 * tone) * warmth, (30 + 135 * tone) * warmth


class Shape(NamedTuple):
    """A bar with round ends (two places), a polygon (more), or an ellipse (its centre), of a part of the body.

    ``size`` is the thickness of a bar in pixels; width, height in pixels and turn in degrees of an ellipse; else empty.
    """

    part: int
    colour: Colour
    places: Points
    size: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A pose put into an image.

    Attributes:
        pose: Which joints are known and how near they are.
        points: Joints in image pixels, shape (J, 2).
        stature: Standing height in pixels.
        look: What the person looks like.
    """

    pose: Pose
    points: Points
    stature: float
    look: Look

    @property
    def extent(self) -> Points:
        """The low and the high corner of the known joints, shape (2, 2)."""
        present = self.points[self.pose.present]
        return np.stack([present.min(axis=0), present.max(axis=0)])

    @property
    def faces_away(self) -> bool:
        """Whether the camera sees the back."""
        return bool(self.points[JOINT["left_shoulder"], 0] < self.points[JOINT["right_shoulder"], 0])

    def shapes(self) -> Iterator[Shape]:
        """Yield the figure's shapes: later ones cover earlier ones."""
        depth = self.pose.depth
        ends = {(bone, side): _limb_ends(bone, side) for bone in range(len(LIMBS)) for side in SHADES}
        limbs = sorted((float(depth[list(joints)].sum()) / 2, *key) for key, joints in ends.items())
        yield from self._limbs(limb[1:] for limb in limbs if limb[0] < 0)
        if self.look.long_hair and not self.faces_away:
            yield self._long_hair()
        yield from self._torso()
        yield from self._head()
        yield from self._limbs(limb[1:] for limb in limbs if limb[0] >= 0)

    def _limbs(self, limbs: Iterable[tuple[int, str]]) -> Iterator[Shape]:
        for bone, side in limbs:
            joints = list(_limb_ends(bone, side))
            if self.pose.present[joints].all():
                start, end = self.points[joints]
                if self.look.shoes is not None and bone in (SHANK, FOREARM):
                    yield self._extremity(bone, side, end - start, end)
                colour, thickness = _shaded(self.look.bones[bone], side), LIMBS[bone][2] * self.look.widths[bone]
                yield self._bar(limb_part(bone, side), colour, (start, end), thickness)

    def _extremity(self, bone: int, side: str, along: Points, joint: Points) -> Shape:
        """Return the foot or the hand at the end of a limb, as part of it."""
        look, unit = self.look, along / max(float(np.hypot(*along)), 1e-6)
        if bone == FOREARM:
            reach, colour, thickness = unit, look.skin, 0.045
        else:
            outwards = 1.0 if (side == "left") != self.faces_away else -1.0
            reach, colour, thickness = unit + np.array([0.7 * outwards, 0.0]), look.shoes or look.skin, 0.05
        ends = (joint, joint + 0.035 * self.stature * reach)
        return self._bar(limb_part(bone, side), _shaded(colour, side), ends, thickness * look.widths[bone])

    def _torso(self) -> Iterator[Shape]:
        look, points = self.look, self.points
        corners = points[[JOINT[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]]
        yield Shape(TORSO_PART, look.upper, corners)
        for edge in ((0, 1), (1, 2), (2, 3), (3, 0)):
            yield self._bar(TORSO_PART, look.upper, corners[list(edge)], 0.05 * look.build)
        throat = corners[:2].mean(axis=0), points[JOINT["neck"]]
        yield self._bar(TORSO_PART, look.skin, throat, 0.05 * look.build)

    def _head(self) -> Iterator[Shape]:
        look, crown, neck = self.look, self.points[JOINT["head"]], self.points[JOINT["neck"]]
        yield _head_oval(crown, neck, look.hair)
        if not self.faces_away:
            yield from self._face(crown, neck)
        elif look.long_hair:
            yield self._long_hair()
        if look.cap is not None:
            yield _head_oval(crown, crown + 0.5 * (neck - crown), look.cap, broad=1.7)

    def _face(self, crown: Points, neck: Points) -> Iterator[Shape]:
        skin = self.look.skin
        yield from self._dots(("left_ear", "right_ear"), 0.016, skin)
        aside = np.zeros(2)
        if self.look.shoes is not None and self.pose.present[JOINT["nose"]]:
            aside[0] = 0.35 * (self.points[JOINT["nose"], 0] - (crown + neck)[0] / 2)
        yield _head_oval(crown + 0.22 * (neck - crown) + aside, neck + aside, skin)
        yield from self._dots(("left_eye", "right_eye"), 0.011, (20, 20, 30))
        yield from self._dots(("nose",), 0.012, _towards(skin, 0.0, 0.35))

    def _long_hair(self) -> Shape:
        crown, neck = self.points[JOINT["head"]], self.points[JOINT["neck"]]
        return _head_oval(crown, neck + 0.25 * (neck - crown), self.look.hair, broad=0.85)

    def _dots(self, joints: Sequence[str], radius: float, colour: Colour) -> Iterator[Shape]:
        for joint in joints:
            if self.pose.present[JOINT[joint]]:
                yield self._bar(HEAD_PART, colour, [self.points[JOINT[joint]]] * 2, 2 * radius)

    def _bar(self, part: int, colour: Colour, ends: Sequence[Points] | Points, thickness: float) -> Shape:
        """Return a bar whose thickness is a fraction of the stature."""
        return Shape(part, colour, np.array(ends), (max(1, round(thickness * self.stature)),))


def limb_part(bone: int, side: str) -> int:
    """Return the number of a limb's part."""
    return FIRST_LIMB_PART + 2 * bone + (side == "left")


def _limb_ends(bone: int, side: str) -> tuple[int, int]:
    start, end, _ = LIMBS[bone]
    return JOINT[f"{side}_{start}"], JOINT[f"{side}_{end}"]


def _shaded(colour: Colour, side: str) -> Colour:
    return _towards(colour, *SHADES[side])


def _towards(colour: Colour, white: float, black: float) -> Colour:
    """Return a colour on its way to white, and that on its way to black, by these shares."""
    red, green, blue = ((channel + white * (255 - channel)) * (1 - black) for channel in colour)
    return red, green, blue


def _head_oval(top: Points, bottom: Points, colour: Colour, *, broad: float = 1.0) -> Shape:
    dx, dy = bottom - top
    length = float(np.hypot(dx, dy))
    axes = max(0.8 * broad * length, 2.0), max(1.04 * length, 2.0)
    return Shape(HEAD_PART, colour, ((top + bottom) / 2)[None], (*axes, float(np.degrees(np.arctan2(-dx, dy)))))


def _parts_of_joints() -> npt.NDArray[np.bool_]:
    lies_on = np.zeros((len(JOINT), NUM_PARTS), bool)
    for side in SHADES:
        lies_on[[JOINT[f"{side}_shoulder"], JOINT[f"{side}_hip"]], TORSO_PART] = True
        for bone in range(len(LIMBS)):
            lies_on[_limb_ends(bone, side), limb_part(bone, side)] = True
    lies_on[JOINT["neck"], TORSO_PART] = True
    lies_on[[JOINT["head"], JOINT["neck"], *FACE], HEAD_PART] = True
    return lies_on


LIES_ON = _parts_of_joints()
"""Which parts show a joint, shape (J, parts); any other part that covers it hides it."""
