"""Drawing of rendered people: their shapes, the patterns of their clothes, and the grain of the finished image.

Places are in image pixels, pixel i covering [i, i + 1). Colours are RGB, 0 to 255.
"""

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.synthetic.figures import Person, draw_shapes
from litepose_ofa.supernet.data.synthetic.looks import (
    FOREARM,
    SHANK,
    THIGH,
    UPPER_ARM,
    Fabric,
    Look,
)
from litepose_ofa.supernet.data.synthetic.patterns import draw_pattern
from litepose_ofa.supernet.data.synthetic.shapes import (
    LIMBS,
    SHADES,
    TORSO_PART,
    limb_part,
)

Pixels = npt.NDArray[np.uint8]

PATTERN_DEPTH = 0.15
"""Most that a pattern lightens or darkens a limb: too little to make a right limb lighter than a left one."""

LEAST_PATTERNED = 40.0
"""Stature in pixels below which a pattern would not show."""

NEUTRAL = 128
"""Gain in a pattern's grey levels that changes nothing."""


def draw_person(canvas: Pixels, person: Person) -> None:
    """Paint a person over the canvas (in place)."""
    draw_shapes(canvas, person.shapes, [shape.colour for shape in person.shapes])
    figure = person.figure
    if person.parts.size and figure.stature >= LEAST_PATTERNED:
        for fabric, parts in _clothes(figure.look):
            _apply_fabric(canvas[person.window], person.parts, parts, fabric, figure.stature)


def add_grain(canvas: Pixels, rng: np.random.Generator, strength: int) -> Pixels:
    """Add uniform noise of up to ``strength`` either way to every value."""
    grain = rng.integers(-strength, strength, canvas.shape, np.int16, endpoint=True)
    return np.asarray(cv2.add(canvas, grain, dtype=cv2.CV_8U), np.uint8)


def _clothes(look: Look) -> list[tuple[Fabric, list[int]]]:
    """Return each fabric with the numbers of the parts that are made of it."""
    clothes = []
    for fabric, colour, bones, more in (
        (look.trousers, look.bones[THIGH], (THIGH, SHANK), []),
        (look.shirt, look.upper, (UPPER_ARM, FOREARM), [TORSO_PART]),
    ):
        if fabric is not None:
            dressed = [bone for bone in bones if look.bones[bone] == colour]
            clothes.append((fabric, more + [limb_part(bone, side) for bone in dressed for side in SHADES]))
    return clothes


def _apply_fabric(canvas: Pixels, parts: Pixels, dressed: list[int], fabric: Fabric, stature: float) -> None:
    height, width = parts.shape
    period = max(4.0, fabric.period * stature)
    pattern = draw_pattern(fabric.kind, width, height, period=period, degrees=fabric.degrees)
    worn = np.zeros(limb_part(len(LIMBS) - 1, "left") + 1, np.uint8)
    worn[dressed] = 255
    mask = cv2.LUT(parts, np.resize(worn, 256) * (np.arange(256) < len(worn)))
    gain = cv2.addWeighted(pattern, PATTERN_DEPTH, mask, 0, NEUTRAL * (1 - PATTERN_DEPTH))
    cv2.copyTo(cv2.multiply(canvas, cv2.merge([gain] * 3), scale=1 / NEUTRAL), mask, canvas)
    if fabric.accent is not None:
        accented = (parts == TORSO_PART) & (pattern > NEUTRAL) & (mask > 0)
        canvas[accented] = fabric.accent
