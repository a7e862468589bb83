"""Augmentation of a training image: random geometry, and optionally colours, rectangles and masked padding.

Legend: H/W image, R side of the input in pixels. Images are RGB bytes.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, Strict

from litepose_ofa.supernet.data.geometry import Matrix, similarity, warp
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.data.normalisation import IMAGE_MEAN
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.validation import Fraction, Positive, settings

Image = npt.NDArray[np.uint8]
Degrees = Annotated[float, Field(ge=0, le=180)]
PositivePair = Annotated[tuple[Positive, Positive], Strict(False)]

NOISE_CELLS = 32
"""Random colours along a side of a noisy rectangle, at every resolution: a teacher sees the same rectangle."""

# W3C, Filter Effects Module Level 1, section 9.6 (feColorMatrix): luma, and the sine's part of hueRotate.
_LUMA = np.array([0.213, 0.715, 0.072])
_HUE_SINE = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])


@dataclass(frozen=True, slots=True)
class ColourChange:
    """One change of colours.

    Attributes:
        brightness: Factor of every value.
        contrast: Factor of the distance from the image's mean luma.
        saturation: Factor of the distance from the pixel's own luma.
        hue_degrees: Turn of the colours about the grey axis.
    """

    brightness: float
    contrast: float
    saturation: float
    hue_degrees: float

    def apply(self, image: Image) -> Image:
        """Return the image, shape (H, W, 3), changed; values are rounded and clipped once, after all four."""
        return cv2.transform(image, self.matrix(float(_LUMA @ cv2.mean(image)[:3]))).astype(np.uint8, copy=False)

    def matrix(self, mean_luma: float) -> npt.NDArray[np.float64]:
        """Return the affine map of RGB, shape (3, 4), for an image of this mean luma in [0, 255]."""
        angle = math.radians(self.hue_degrees)
        grey = np.broadcast_to(_LUMA, (3, 3))
        chroma = math.cos(angle) * (np.eye(3) - grey) + math.sin(angle) * _HUE_SINE
        linear = self.contrast * self.brightness * (grey + self.saturation * chroma)
        return np.column_stack([linear, np.full(3, (1 - self.contrast) * self.brightness * mean_luma)])


@settings
class ColourJitter:
    """Random change of colours, each part drawn uniformly; 0 leaves a part as it is.

    Attributes:
        brightness: Largest distance of the factor from 1; so are contrast and saturation.
        contrast: About the image's mean luma.
        saturation: About each pixel's luma.
        hue_degrees: Largest turn of the hue either way.
    """

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue_degrees: Degrees = 0.0

    def draw(self, rng: np.random.Generator) -> ColourChange | None:
        """Draw a change; None if every part is 0."""
        if self == _NO_JITTER:
            return None
        return ColourChange(
            brightness=1 + rng.uniform(-self.brightness, self.brightness),
            contrast=1 + rng.uniform(-self.contrast, self.contrast),
            saturation=1 + rng.uniform(-self.saturation, self.saturation),
            hue_degrees=rng.uniform(-self.hue_degrees, self.hue_degrees),
        )


_NO_JITTER = ColourJitter()


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """A rectangle that hides what is there.

    Attributes:
        corner: Left and top, as fractions of the image's width and height.
        size: Width and height, likewise.
        colours: What it shows, shape (rows, columns, 3), stretched over it.
    """

    corner: tuple[float, float]
    size: tuple[float, float]
    colours: Image

    def paint(self, image: Image) -> None:
        """Cover a part of the image, shape (H, W, 3), in place."""
        height, width = image.shape[:2]
        left, top = round(self.corner[0] * width), round(self.corner[1] * height)
        right = min(width, max(left + 1, round((self.corner[0] + self.size[0]) * width)))
        bottom = min(height, max(top + 1, round((self.corner[1] + self.size[1]) * height)))
        if right > left and bottom > top:
            stretched = cv2.resize(self.colours, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
            image[top:bottom, left:right] = stretched


@settings
class RandomErasing:
    """Random rectangles over the input. Joints under them keep their labels: they are to be inferred from the rest.

    Source: Zhong et al., Random Erasing Data Augmentation (arXiv:1708.04896).

    Attributes:
        probability: That an image has any.
        count: How many it has then.
        area: Least and largest area of one, over the input's; drawn uniformly.
        aspect: Least and largest width over height; drawn uniformly on a logarithmic scale. Sides end at the input's.
        fill: ``noise``: ``NOISE_CELLS`` x ``NOISE_CELLS`` random colours; ``mean``: ImageNet's mean, 0 to the network.
    """

    probability: Fraction = 0.0
    count: Annotated[int, Field(ge=1, le=100)] = 1
    area: PositivePair = (0.02, 0.2)
    aspect: PositivePair = (0.33, 3.0)
    fill: Literal["noise", "mean"] = "noise"

    def __post_init__(self) -> None:
        require(self.area[0] <= self.area[1] <= 1, "area", self.area, "ascending and at most 1")
        require(self.aspect[0] <= self.aspect[1], "aspect", self.aspect, "ascending")

    def draw(self, rng: np.random.Generator) -> tuple[Cover, ...]:
        """Draw the rectangles of one image."""
        if rng.random() >= self.probability:
            return ()
        return tuple(self._draw_one(rng) for _ in range(self.count))

    def _draw_one(self, rng: np.random.Generator) -> Cover:
        area = rng.uniform(*self.area)
        aspect = math.exp(rng.uniform(math.log(self.aspect[0]), math.log(self.aspect[1])))
        size = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
        corner = rng.uniform(0, 1 - size[0]), rng.uniform(0, 1 - size[1])
        return Cover(corner, size, self._colours(rng))

    def _colours(self, rng: np.random.Generator) -> Image:
        if self.fill == "noise":
            return rng.integers(0, 256, (NOISE_CELLS, NOISE_CELLS, 3), np.uint8)
        mean: Image = np.rint(255 * np.array([[IMAGE_MEAN]])).astype(np.uint8)
        return mean


@dataclass(frozen=True, slots=True)
class Transform:
    """What is done to one image; as it stands, the centred square of the short side is cut out.

    Attributes:
        rotation_degrees: Turn of the content, clockwise as seen.
        scale: Side of the cut-out over the short side of the image.
        translation: Shift of the content right and down, as a fraction of the input's side.
        flip: Whether left and right are mirrored, last of all.
        colour: Change of the image's colours; the padding stays black.
        covers: Rectangles over the input.
    """

    rotation_degrees: float = 0.0
    scale: float = 1.0
    translation: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    colour: ColourChange | None = None
    covers: tuple[Cover, ...] = ()

    def matrix(self, width: int, height: int, size: float) -> Matrix:
        """Return the matrix that cuts a square input of this side out of an image around its centre."""
        zoom = size / (min(width, height) * self.scale)
        angle = math.radians(self.rotation_degrees)
        centre = size * (0.5 + self.translation[0]), size * (0.5 + self.translation[1])
        across, down = similarity(zoom * math.cos(angle), zoom * math.sin(angle), (width / 2, height / 2), centre)
        if self.flip:
            across = -across[0], -across[1], size - across[2]
        return np.array([across, down])

    def render(self, image: Image, matrix: Matrix, size: tuple[int, int]) -> Image:
        """Return the covered input of a width and height that a matrix cuts out of an image; the padding is black."""
        rendered = warp(image, matrix, size)
        for cover in self.covers:
            cover.paint(rendered)
        return rendered


@settings
class Augmentation:
    """Random transforms, the geometry drawn uniformly. The defaults are LitePose's at an input of 512.

    Padding is where a cut-out reaches beyond the image. There it is black, and by default the targets are background,
    as in the published training: networks meet such padding again whenever an image is not square.

    Attributes:
        rotation_degrees: Largest turn either way.
        scale: Least and largest side of the cut-out over the short side of the image.
        translation: Largest shift either way, as a fraction of the input's side.
        flip: Probability of mirroring.
        mask_padding: Leave the padding out of the heatmap loss, like an ignore region.
        colour: Jitter of the colours; by default none.
        erasing: Random rectangles; by default none.
        mosaic: Several pictures in one input; by default never. What is above is drawn for each.
    """

    rotation_degrees: Degrees = 30.0
    scale: PositivePair = (0.75, 1.5)
    translation: Fraction = 40 / 512
    flip: Fraction = 0.5
    mask_padding: bool = False
    colour: ColourJitter = field(default_factory=ColourJitter)
    erasing: RandomErasing = field(default_factory=RandomErasing)
    mosaic: Mosaic = field(default_factory=Mosaic)

    def __post_init__(self) -> None:
        require(self.scale[0] <= self.scale[1], "scale", self.scale, "ascending")

    def draw(self, seed: int) -> Transform:
        """Draw a transform; its geometry does not depend on whether colours and rectangles are drawn too."""
        rng = np.random.default_rng(seed)
        return Transform(
            flip=bool(rng.random() < self.flip),
            rotation_degrees=rng.uniform(-self.rotation_degrees, self.rotation_degrees),
            scale=rng.uniform(*self.scale),
            translation=tuple(rng.uniform(-self.translation, self.translation, 2).tolist()),
            colour=self.colour.draw(rng),
            covers=self.erasing.draw(rng),
        )
