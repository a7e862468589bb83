"""Grey patterns for clothes and backgrounds: stripes, checks, dots, plaid, cloud."""

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

TILE = 64
"""Side of a pattern's period in its own pixels."""

REPEATS = 16
"""Periods along each side of a stored pattern: reading inside it is several times faster than wrapping around."""


@functools.cache
def pattern_tiles() -> tuple[Pixels, ...]:
    """Return every pattern, REPEATS x TILE pixels square, 0 to 255 with a mean near 128."""
    along = np.arange(TILE)
    stripes = np.where(along % 16 < 8, 255.0, 0.0)
    broad = np.where(along % 32 < 16, 255.0, 0.0)
    bars = np.broadcast_to(stripes, (TILE, TILE))
    checks = np.where(np.equal.outer(broad, broad), 255.0, 0.0)
    waves = np.cos(2 * math.pi * along / 16)
    dots = np.clip(128 + 255 * np.add.outer(waves, waves), 0, 255)
    plaid = np.add.outer(broad, np.where(along % 32 < 8, 255.0, 0.0)) / 2
    cells = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    cloud = 255 * cv2.resize(np.tile(cells, (3, 3)), (3 * TILE, 3 * TILE), interpolation=cv2.INTER_CUBIC)
    tiles = (bars, bars.T, checks, dots, plaid, cloud[TILE : 2 * TILE, TILE : 2 * TILE])
    return tuple(np.tile(np.clip(tile, 0, 255).astype(np.uint8), (REPEATS, REPEATS)) for tile in tiles)


def draw_pattern(kind: int, width: int, height: int, *, period: float, degrees: float) -> Pixels:
    """Return a pattern, shape (height, width), that repeats after ``period`` pixels and is turned by ``degrees``."""
    step, angle = TILE / period, math.radians(degrees)
    across, down = step * math.cos(angle), step * math.sin(angle)
    middle = REPEATS * TILE / 2
    turn = np.array([[across, down, middle], [-down, across, middle]])
    tile = pattern_tiles()[kind % len(pattern_tiles())]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(tile, turn, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP), np.uint8)
