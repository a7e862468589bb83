"""Augmentation of a training image: random geometry, and optionally colours, rectangles and masked padding.

Legend: H/W image, R side of the input in pixels.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.appearance import (
    ColourChange,
    ColourJitter,
    Cover,
    RandomErasing,
)
from litepose_ofa.supernet.data.geometry import Matrix, training_affine, warp
from litepose_ofa.supernet.errors import require, require_numbers

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Transform:
    """What is done to one image; as it stands, the centred square of the short side is cut out.

    Attributes:
        rotation_degrees: Turn of the content, clockwise as seen.
        scale: Side of the cut-out over the short side of the image.
        translation: Shift of the content right and down, as a fraction of the input's side.
        flip: Whether left and right are mirrored.
        colour: Change of the image's colours; the padding stays black.
        covers: Rectangles over the input.
    """

    rotation_degrees: float = 0.0
    scale: float = 1.0
    translation: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    colour: ColourChange | None = None
    covers: tuple[Cover, ...] = ()

    def matrix(self, width: int, height: int, size: int) -> Matrix:
        """Return the matrix from an image of this width and height to an input of this side."""
        return training_affine(
            width,
            height,
            size,
            rotation_degrees=self.rotation_degrees,
            scale=self.scale,
            translation=self.translation,
            flip=self.flip,
        )

    def render(self, image: Image, matrix: Matrix, size: int) -> Image:
        """Return the covered input, shape (R, R, 3), that a matrix cuts out of an image; the padding is black."""
        rendered = warp(image, matrix, (size, size))
        for cover in self.covers:
            cover.paint(rendered)
        return rendered


@dataclass(frozen=True, slots=True)
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

    Raises:
        InputError: If a value is out of its range.
    """

    rotation_degrees: float = 30.0
    scale: tuple[float, float] = (0.75, 1.5)
    translation: float = 40 / 512
    flip: float = 0.5
    mask_padding: bool = False
    colour: ColourJitter = field(default_factory=ColourJitter)
    erasing: RandomErasing = field(default_factory=RandomErasing)

    def __post_init__(self) -> None:
        require(0 <= self.rotation_degrees <= 180, "rotation_degrees", self.rotation_degrees, "from 0 to 180")
        require(0 < self.scale[0] <= self.scale[1], "scale", self.scale, "above 0 and ascending")
        require(0 <= self.translation <= 1, "translation", self.translation, "from 0 to 1")
        require(0 <= self.flip <= 1, "flip", self.flip, "from 0 to 1")
        require_numbers(self)

    def draw(self, seed: int) -> Transform:
        """Draw a transform; its geometry does not depend on whether colours and rectangles are drawn too."""
        rng = np.random.default_rng(seed)
        return Transform(
            flip=bool(rng.random() < self.flip),
            rotation_degrees=rng.uniform(-self.rotation_degrees, self.rotation_degrees),
            scale=rng.uniform(*self.scale),
            translation=(
                rng.uniform(-self.translation, self.translation),
                rng.uniform(-self.translation, self.translation),
            ),
            colour=self.colour.draw(rng),
            covers=self.erasing.draw(rng),
        )
