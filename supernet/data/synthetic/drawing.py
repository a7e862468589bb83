"""Drawing of rendered people: which pixels each covers, backgrounds, and grain.

Places are in image pixels, pixel i covering [i, i + 1). Colours are RGB, 0 to 255.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.synthetic.figures import Colour, Figure, Shape, cloth_colour, skin_colour, vivid

Pixels = npt.NDArray[np.uint8]

SUBPIXEL_BITS = 4

MOST_CLUTTER = 60
"""Shapes of the fullest background."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A figure with its shapes, from the farthest to the nearest, and its pixels, nobody in front.

    Attributes:
        figure: The pose in the image.
        shapes: Its shapes.
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
        shapes = tuple(figure.shapes())
        places = np.concatenate([shape.places for shape in shapes])
        reach = max(max(shape.size[:2], default=0.0) for shape in shapes) / 2 + 2
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
        """Box of the pixels: x, y, width, height in the image; the sides are 0 if there are none."""
        x, y, width, height = cv2.boundingRect(self.parts) if self.parts.size else (0, 0, 0, 0)
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


def draw_person(canvas: Pixels, person: Person) -> None:
    """Paint a person over the canvas (in place)."""
    draw_shapes(canvas, person.shapes, [shape.colour for shape in person.shapes])


def add_grain(canvas: Pixels, rng: np.random.Generator, strength: int) -> Pixels:
    """Add uniform noise of up to ``strength`` either way to every value."""
    grain = rng.integers(-strength, strength, canvas.shape, np.int16, endpoint=True)
    return np.asarray(cv2.add(canvas, grain, dtype=cv2.CV_8U), np.uint8)


def draw_background(rng: np.random.Generator, width: int, height: int, *, clutter: float = 0.0) -> Pixels:
    """Paint what is behind the people, shape (height, width, 3).

    Clutter is 0 for a gradient with noise and a few shapes; up to 1 for noise like a photograph's, with ever more
    shapes and limbs of nobody.
    """
    if clutter == 0:
        return _plain(rng, width, height)
    background = _cloudy(rng, width, height)
    draw = (_draw_distractor, _draw_limbs, _draw_trunk)
    for kind in rng.choice(len(draw), round(clutter * rng.uniform(0.5, 1) * MOST_CLUTTER), p=(0.5, 0.3, 0.2)):
        draw[kind](background, rng)
    return background


def _plain(rng: np.random.Generator, width: int, height: int) -> Pixels:
    corners = np.array([[vivid(rng), vivid(rng)], [vivid(rng), vivid(rng)]], np.float32)
    canvas = cv2.resize(0.6 * corners + 50, (width, height)).astype(np.float32, copy=False)
    for cell, strength in ((40, 60), (12, 45), (4, 35)):
        shape = (max(2, height // cell), max(2, width // cell), 3)
        canvas += cv2.resize((rng.random(shape, np.float32) - 0.5) * strength, (width, height))
    background = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(3, 9))):
        _draw_distractor(background, rng)
    return background


def _cloudy(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Paint noise whose strength falls with its frequency, as a photograph's does."""
    canvas: npt.NDArray[np.float32] = np.full((1, 1, 3), cloth_colour(rng), np.float32)
    strength = rng.uniform(50, 110)
    for cell in (256, 128, 64, 32, 16, 8, 4):
        columns, rows = max(2, width // cell), max(2, height // cell)
        grey = rng.random((rows, columns, 1), np.float32) - np.float32(0.5)
        colour = rng.random((rows, columns, 3), np.float32) - np.float32(0.5)
        noise = np.float32(strength) * (np.float32(1.1) * grey + np.float32(0.35) * colour)
        canvas = np.asarray(cv2.resize(canvas, (columns, rows)) + noise, np.float32)
        strength *= 0.8
    return np.asarray(cv2.resize(np.clip(canvas, 0, 255).astype(np.uint8), (width, height)), np.uint8)


def _draw_distractor(canvas: Pixels, rng: np.random.Generator) -> None:
    """Paint a box, an ellipse or a bar anywhere."""
    height, width = canvas.shape[:2]
    colour = vivid(rng)
    (x, y), (dx, dy) = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.05, 0.3, 2) * min(width, height)
    shape = ((float(x), float(y)), (float(dx), float(dy)), rng.uniform(0, 180))
    kind = int(rng.integers(3))
    if kind == 0:
        cv2.ellipse(canvas, shape, colour, -1, cv2.LINE_AA)
        return
    if kind == 1:
        shape = (shape[0], (float(dx), 0.15 * float(dy)), shape[2])
    cv2.fillPoly(canvas, [np.rint(cv2.boxPoints(shape)).astype(np.int32)], colour, cv2.LINE_AA)


def _draw_limbs(canvas: Pixels, rng: np.random.Generator) -> None:
    """Paint a chain of bars in the colours of skin or clothes, a limb of nobody."""
    height, width = canvas.shape[:2]
    length = math.exp(rng.uniform(math.log(0.02), math.log(0.2))) * height
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(-1.2, 1.2, int(rng.integers(1, 4))))
    steps = length * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    chain = np.vstack([np.zeros(2), np.cumsum(steps, axis=0)]) + rng.uniform(0, 1, 2) * (width, height)
    colour = skin_colour(rng) if rng.random() < 0.4 else cloth_colour(rng)
    thickness = max(1, round(length * rng.uniform(0.2, 0.45)))
    for start, end in itertools.pairwise(np.rint(chain).astype(int)):
        cv2.line(canvas, start, end, colour, thickness, cv2.LINE_AA)


def _draw_trunk(canvas: Pixels, rng: np.random.Generator) -> None:
    """Paint a torso without limbs under a ball, as of a dummy."""
    height, width = canvas.shape[:2]
    size = math.exp(rng.uniform(math.log(0.03), math.log(0.2))) * height
    x, y = (rng.uniform(0, 1, 2) * (width, height)).tolist()
    corners = np.array([(-0.4, 0), (0.4, 0), (0.28, 1), (-0.28, 1)]) * size + (x, y)
    cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], cloth_colour(rng), cv2.LINE_AA)
    if rng.random() < 0.5:
        ball = round(x), round(y - 0.35 * size)
        cv2.circle(canvas, ball, max(1, round(0.25 * size)), skin_colour(rng), -1, cv2.LINE_AA)
