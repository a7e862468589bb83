"""Drawing of rendered people and of what is behind them.

Places are in image pixels, pixel i covering [i, i + 1). Colours are RGB, 0 to 255.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from supernet.data.synthetic_poses import JOINT, Pose

Image = npt.NDArray[np.uint8]
Places = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

SUBPIXEL_BITS = 4
SHADES = {"right": (0.0, 0.55), "left": (0.5, 0.0)}
"""How far the limbs of a side go towards white and towards black, which shows the side of a limb by itself.

Mirrored images, whose sides are relabelled, contradict it; in them the face tells which way a person faces.
"""


class Limb(NamedTuple):
    """A bone: its joints without their side, its thickness over the stature, and whose colour it has."""

    start: str
    end: str
    thickness: float
    colour: str


LIMBS = (
    Limb("hip", "knee", 0.08, "lower"),
    Limb("knee", "ankle", 0.062, "lower"),
    Limb("shoulder", "elbow", 0.064, "upper"),
    Limb("elbow", "wrist", 0.052, "skin"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of one person, and how stout the limbs are (1 is the mean)."""

    skin: Colour
    hair: Colour
    upper: Colour
    lower: Colour
    build: float


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


def random_look(rng: np.random.Generator) -> Look:
    """Draw colours and build of a person."""
    tone, dark = rng.uniform(0.25, 1.0), rng.uniform(0.1, 0.9)
    skin = (80 + 165 * tone, 50 + 145 * tone, 35 + 125 * tone)
    return Look(skin, (150 * dark, 110 * dark, 70 * dark), _vivid(rng), _vivid(rng), rng.uniform(0.85, 1.2))


def draw_background(rng: np.random.Generator, width: int, height: int) -> Image:
    """Paint a gradient with noise of several scales and shapes that distract, shape (height, width, 3)."""
    corners = np.array([[_vivid(rng), _vivid(rng)], [_vivid(rng), _vivid(rng)]], np.float32)
    canvas = cv2.resize(0.6 * corners + 50, (width, height)).astype(np.float32, copy=False)
    for cell, strength in ((40, 60), (12, 45), (4, 35)):
        shape = (max(2, height // cell), max(2, width // cell), 3)
        canvas += cv2.resize((rng.random(shape, np.float32) - 0.5) * strength, (width, height))
    background = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(3, 9))):
        _draw_distractor(background, rng)
    return background


def draw_person(canvas: Image, figure: Figure) -> npt.NDArray[np.bool_]:
    """Paint a person over the canvas (in place) and return where, shape (H, W)."""
    painter = _Painter(canvas, figure)
    limbs = sorted(
        (painter.depth(limb, side), index, side, limb) for index, limb in enumerate(LIMBS) for side in SHADES
    )
    for depth, _, side, limb in limbs:
        if depth < 0:
            painter.paint_limb(limb, side)
    painter.paint_torso()
    painter.paint_head()
    for depth, _, side, limb in limbs:
        if depth >= 0:
            painter.paint_limb(limb, side)
    return painter.silhouette.astype(bool)


def add_grain(canvas: Image, rng: np.random.Generator, strength: int) -> Image:
    """Add uniform noise of up to ``strength`` either way to every value."""
    grain = rng.integers(-strength, strength, canvas.shape, np.int16, endpoint=True)
    grainy: Image = np.clip(canvas + grain, 0, 255).astype(np.uint8)
    return grainy


class _Painter:
    """Paints one figure's parts on the canvas and on its silhouette."""

    def __init__(self, canvas: Image, figure: Figure) -> None:
        self.canvas = canvas
        self.figure = figure
        self.silhouette = np.zeros(canvas.shape[:2], np.uint8)

    def depth(self, limb: Limb, side: str) -> float:
        """Return how near to the camera the middle of a limb is."""
        depth = self.figure.pose.depth
        return float(depth[JOINT[f"{side}_{limb.start}"]] + depth[JOINT[f"{side}_{limb.end}"]]) / 2

    def paint_limb(self, limb: Limb, side: str) -> None:
        joints = [JOINT[f"{side}_{part}"] for part in (limb.start, limb.end)]
        if self.figure.pose.present[joints].all():
            colour = _towards(getattr(self.figure.look, limb.colour), *SHADES[side])
            self._line(self.figure.points[joints], limb.thickness * self.figure.look.build, colour)

    def paint_torso(self) -> None:
        look, points = self.figure.look, self.figure.points
        corners = points[[JOINT[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]]
        self._polygon(corners, look.upper)
        for edge in ((0, 1), (1, 2), (2, 3), (3, 0)):
            self._line(corners[list(edge)], 0.05 * look.build, look.upper)
        throat = np.stack([corners[:2].mean(axis=0), points[JOINT["neck"]]])
        self._line(throat, 0.05 * look.build, look.skin)

    def paint_head(self) -> None:
        look, points = self.figure.look, self.figure.points
        crown, neck = points[JOINT["head"]], points[JOINT["neck"]]
        self._head(crown, neck, look.hair)
        if points[JOINT["left_shoulder"], 0] < points[JOINT["right_shoulder"], 0]:
            return  # seen from behind
        for ear in ("left_ear", "right_ear"):
            self._dot(ear, 0.016, look.skin)
        self._head(crown + 0.22 * (neck - crown), neck, look.skin)
        for eye in ("left_eye", "right_eye"):
            self._dot(eye, 0.011, (20, 20, 30))
        self._dot("nose", 0.012, _towards(look.skin, 0.0, 0.35))

    def _head(self, top: Places, bottom: Places, colour: Colour) -> None:
        (x, y), (dx, dy) = (top + bottom) / 2, bottom - top
        length = float(np.hypot(dx, dy))
        box = ((float(x) - 0.5, float(y) - 0.5), (max(0.8 * length, 2.0), max(1.04 * length, 2.0)))
        angle = float(np.degrees(np.arctan2(-dx, dy)))
        cv2.ellipse(self.canvas, (*box, angle), colour, -1, cv2.LINE_AA)
        cv2.ellipse(self.silhouette, (*box, angle), 1, -1)

    def _dot(self, joint: str, radius: float, colour: Colour) -> None:
        if self.figure.pose.present[JOINT[joint]]:
            place = self.figure.points[JOINT[joint]]
            self._line(np.stack([place, place]), 2 * radius, colour)

    def _line(self, ends: Places, thickness: float, colour: Colour) -> None:
        """Paint a bar with round ends; the thickness is a fraction of the stature."""
        start, end = _fixed_point(ends).tolist()
        pixels = max(1, round(thickness * self.figure.stature))
        cv2.line(self.canvas, start, end, colour, pixels, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.line(self.silhouette, start, end, 1, pixels, cv2.LINE_8, SUBPIXEL_BITS)

    def _polygon(self, corners: Places, colour: Colour) -> None:
        fixed = _fixed_point(corners)
        cv2.fillPoly(self.canvas, [fixed], colour, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.fillPoly(self.silhouette, [fixed], 1, cv2.LINE_8, SUBPIXEL_BITS)


def _draw_distractor(canvas: Image, rng: np.random.Generator) -> None:
    """Paint a box, an ellipse or a bar anywhere."""
    height, width = canvas.shape[:2]
    colour = _vivid(rng)
    (x, y), (dx, dy) = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.05, 0.3, 2) * min(width, height)
    shape = ((float(x), float(y)), (float(dx), float(dy)), rng.uniform(0, 180))
    kind = int(rng.integers(3))
    if kind == 0:
        cv2.ellipse(canvas, shape, colour, -1, cv2.LINE_AA)
        return
    if kind == 1:
        shape = (shape[0], (float(dx), 0.15 * float(dy)), shape[2])
    cv2.fillPoly(canvas, [np.rint(cv2.boxPoints(shape)).astype(np.int32)], colour, cv2.LINE_AA)


def _fixed_point(places: Places) -> npt.NDArray[np.int32]:
    """Turn places into OpenCV's fixed-point coordinates, which have pixel centres at integers."""
    fixed: npt.NDArray[np.int32] = np.rint((places - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    return fixed


def _towards(colour: Colour, white: float, black: float) -> Colour:
    red, green, blue = ((channel + white * (255 - channel)) * (1 - black) for channel in colour)
    return red, green, blue


def _vivid(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.uniform(30, 225, 3).tolist()
    return red, green, blue
