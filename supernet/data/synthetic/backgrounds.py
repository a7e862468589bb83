"""What is behind rendered people: plain gradients with noise, or clutter that looks like parts of them.

Colours are RGB, 0 to 255.
"""

import itertools
import math

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.synthetic.looks import cloth_colour, skin_colour, vivid
from litepose_ofa.supernet.data.synthetic.patterns import draw_pattern

Pixels = npt.NDArray[np.uint8]

MOST_CLUTTER = 60
"""Shapes of the fullest background."""


def draw_background(rng: np.random.Generator, width: int, height: int, *, clutter: float = 0.0) -> Pixels:
    """Paint what is behind the people, shape (height, width, 3).

    Args:
        rng: Source of randomness.
        width: Width in pixels.
        height: Height in pixels.
        clutter: 0 for a gradient with noise and a few shapes; up to 1 for noise like a photograph's, with ever more
            textures, shapes and limbs of nobody.
    """
    if clutter == 0:
        return _plain(rng, width, height)
    background = _cloudy(rng, width, height)
    draw = (_draw_distractor, _draw_texture, _draw_limbs, _draw_trunk)
    for kind in rng.choice(len(draw), round(clutter * rng.uniform(0.5, 1) * MOST_CLUTTER), p=(0.4, 0.2, 0.25, 0.15)):
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


def _draw_texture(canvas: Pixels, rng: np.random.Generator) -> None:
    """Paint an upright box with a pattern of two colours."""
    height, width = canvas.shape[:2]
    size = np.maximum(2, rng.uniform(0.05, 0.35, 2) * (width, height)).astype(int)
    left, top = (rng.uniform(0, 1, 2) * ((width, height) - size)).astype(int)
    box = canvas[top : top + size[1], left : left + size[0]]
    period = rng.uniform(0.03, 0.3) * min(width, height)
    pattern = draw_pattern(
        int(rng.integers(64)), box.shape[1], box.shape[0], period=max(4.0, period), degrees=rng.uniform(0, 180)
    )
    between = np.linspace(vivid(rng), vivid(rng), 256).astype(np.uint8)
    box[:] = between[pattern]


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
