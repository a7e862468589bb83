"""Rendered people as pixels: which part of whom covers what.

Places are in image pixels, pixel i covering [i, i + 1). Colours are RGB, 0 to 255.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.synthetic.looks import Colour
from litepose_ofa.supernet.data.synthetic.poses import FACE, JOINT
from litepose_ofa.supernet.data.synthetic.shapes import (
    HEAD_PART,
    LIMBS,
    SHADES,
    TORSO_PART,
    Figure,
    Shape,
    figure_shapes,
    limb_part,
)

Pixels = npt.NDArray[np.uint8]

SUBPIXEL_BITS = 4


def _parts_of_joints() -> npt.NDArray[np.bool_]:
    """Return which parts a joint lies on the surface of, shape (J, parts)."""
    lies_on = np.zeros((len(JOINT), limb_part(len(LIMBS) - 1, "left") + 1), bool)
    for side in SHADES:
        lies_on[[JOINT[f"{side}_shoulder"], JOINT[f"{side}_hip"]], TORSO_PART] = True
        for bone, limb in enumerate(LIMBS):
            lies_on[[JOINT[f"{side}_{limb.start}"], JOINT[f"{side}_{limb.end}"]], limb_part(bone, side)] = True
    lies_on[JOINT["neck"], TORSO_PART] = True
    lies_on[[JOINT["head"], JOINT["neck"], *FACE], HEAD_PART] = True
    return lies_on


LIES_ON = _parts_of_joints()
"""Which parts show a joint, shape (J, parts); any other part that covers it hides it."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A figure with its shapes and its pixels, nobody in front.

    Attributes:
        figure: The pose in the image.
        shapes: Its shapes from the farthest to the nearest.
        left: First column of ``parts`` in the image.
        top: First row of ``parts`` in the image.
        parts: The number of the part that each pixel shows, 0 for none, shape (h, w); empty if outside the image.
    """

    figure: Figure
    shapes: tuple[Shape, ...]
    left: int
    top: int
    parts: Pixels

    @classmethod
    def in_image(cls, figure: Figure, image_size: tuple[int, int]) -> Self:
        """Find the pixels of a figure in an image of this width and height."""
        shapes = tuple(figure_shapes(figure))
        places = np.concatenate([shape.places for shape in shapes])
        reach = max(shape.reach for shape in shapes) + 2
        left, top = (int(low) for low in np.clip(np.floor(places.min(axis=0) - reach), 0, image_size))
        right, bottom = (int(high) for high in np.clip(np.ceil(places.max(axis=0) + reach), (left, top), image_size))
        parts = np.zeros((bottom - top, right - left), np.uint8)
        if parts.size:
            draw_shapes(parts, shapes, [shape.part for shape in shapes], origin=(left, top), line=cv2.LINE_8)
        return cls(figure, shapes, left, top, parts)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that ``parts`` covers."""
        height, width = self.parts.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Box of the pixels: x, y, width, height in the image; the sides are 0 if there is none."""
        if not self.parts.size:
            return self.left, self.top, 0, 0
        x, y, width, height = cv2.boundingRect(self.parts)
        return x + self.left, y + self.top, width, height


def draw_shapes(
    canvas: Pixels,
    shapes: Sequence[Shape],
    values: Sequence[Colour | int],
    *,
    origin: tuple[int, int] = (0, 0),
    line: int = cv2.LINE_AA,
) -> None:
    """Paint each shape with its value (in place) on a canvas whose corner is at the ``origin`` of the image."""
    places = np.concatenate([shape.places for shape in shapes])
    corner = np.array(origin)
    fixed = np.rint((places - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32) - (corner << SUBPIXEL_BITS).astype(np.int32)
    centres = (places - 0.5).astype(np.float32) - corner.astype(np.float32)  # OpenCV's pixel centres are at integers
    first = 0
    for shape, value in zip(shapes, values, strict=True):
        last = first + len(shape.places)
        if last - first == 1:
            x, y = centres[first].tolist()
            cv2.ellipse(canvas, ((x, y), shape.size[:2], shape.size[2]), value, -1, line)
        elif last - first == 2:
            start, end = fixed[first:last].tolist()
            cv2.line(canvas, start, end, value, int(shape.size[0]), line, SUBPIXEL_BITS)
        else:
            cv2.fillPoly(canvas, [fixed[first:last]], value, line, SUBPIXEL_BITS)
        first = last
