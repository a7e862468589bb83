"""Images to people: fit to the input, run the network with its mirror image, merge the heads, decode.

Legend: B batch, N people, K keypoints, H/W map, L tags a pixel, R input size. Frames: image (as stored), input (of the
network), heatmap. Pixel i of each covers [i, i + 1).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from supernet.arch import SIZE_MULTIPLE
from supernet.codec import decode_people
from supernet.data.geometry import Matrix, inference_affine, invert, transform_points, warp
from supernet.data.loading import normalise
from supernet.data.skeletons import Skeleton
from supernet.errors import InputError

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

People = tuple[FloatArray, FloatArray]
"""Keypoints, shape (N, K, 3): x, y, response, zeros where missing; and scores, shape (N,)."""

PoseModel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, 3, H, W) to head 0 (B, 2K, H/4, W/4), heatmaps then AE tags, and head 1 (B, K, H/2, W/2), heatmaps."""


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """How people are found.

    Attributes:
        flip_test: Run the mirrored image too: heatmaps are averaged, tags compared in both.
        project_to_image: Scale the maps up to the input's size before peaks are picked.
        refine: Look for a person's missing joints once the people are known.
        threshold: Least response of a heatmap peak.
        max_people: Most people of an image, and most heatmap peaks of each joint.
        size_multiple: What the longer side of the input is a multiple of.

    Raises:
        InputError: If a value is out of range; the message names it.
    """

    flip_test: bool = True
    project_to_image: bool = False
    refine: bool = True
    threshold: float = 0.1
    max_people: int = 30
    size_multiple: int = 64

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise InputError(f"threshold is {self.threshold!r}; it must be at least 0")
        if self.max_people < 1:
            raise InputError(f"max_people is {self.max_people!r}; it must be at least 1")
        require_size("size_multiple", self.size_multiple)


def require_size(name: str, value: int) -> None:
    """Refuse a side that the network cannot halve as often as it has to.

    Raises:
        InputError: If it is not a positive multiple of 16.
    """
    if value < 1 or value % SIZE_MULTIPLE:
        raise InputError(f"{name} is {value!r}; it must be a positive multiple of {SIZE_MULTIPLE}")


DEFAULT_SETTINGS = InferenceSettings()


@dataclass
class PeoplePredictor:
    """A model and how it is run; adds up where the time goes.

    Attributes:
        model: The network in eval mode, on ``device``.
        image_size: Short side of the input in pixels (R).
        skeleton: The keypoints of the model.
        settings: How people are found.
        device: Where the model is.
        network_seconds: Time in the model so far.
        decode_seconds: Time from its output to people so far.

    Raises:
        InputError: If ``image_size`` is not a multiple of 16.
    """

    model: PoseModel
    image_size: int
    skeleton: Skeleton
    settings: InferenceSettings = DEFAULT_SETTINGS
    device: torch.device | str = "cpu"
    network_seconds: float = field(default=0.0, init=False)
    decode_seconds: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        require_size("image_size", self.image_size)

    def fit(self, width: int, height: int) -> tuple[Matrix, tuple[int, int]]:
        """Return the matrix from an image to its input, and the input's (width, height)."""
        return inference_affine(width, height, self.image_size, self.settings.size_multiple)

    def predict(self, images: Sequence[Image]) -> list[People]:
        """Find the people in images that one forward pass takes together.

        Args:
            images: RGB, shape (H, W, 3), such that their inputs have one size.

        Returns:
            One entry an image, best person first, coordinates in image pixels.

        Raises:
            ValueError: If the inputs differ in size.
        """
        fitted = [self.fit(image.shape[1], image.shape[0]) for image in images]
        sizes = {size for _, size in fitted}
        if len(sizes) != 1:
            raise ValueError(f"the images need inputs of the sizes {sorted(sizes)}; they must be of one size")
        inputs = np.stack([warp(image, matrix, size) for image, (matrix, size) in zip(images, fitted, strict=True)])
        start = time.perf_counter()
        maps = predict_maps(
            self.model, normalise(inputs).to(self.device), skeleton=self.skeleton, settings=self.settings
        )
        heatmaps, tags = (tensor.cpu() for tensor in maps)
        decode_start = time.perf_counter()
        decoded = decode_people(
            heatmaps,
            tags,
            self.settings.refine,
            max_people=self.settings.max_people,
            threshold=self.settings.threshold,
            best=self.settings.max_people,
        )
        input_per_heatmap_pixel = np.array(inputs.shape[2:0:-1]) / np.array(heatmaps.shape[3:1:-1])
        people = [
            (_in_image(keypoints, matrix, input_per_heatmap_pixel), scores)
            for (keypoints, scores), (matrix, _) in zip(decoded, fitted, strict=True)
        ]
        self.network_seconds += decode_start - start
        self.decode_seconds += time.perf_counter() - decode_start
        return people


def predict_people(
    model: PoseModel,
    images: Sequence[Image],
    *,
    image_size: int,
    skeleton: Skeleton,
    settings: InferenceSettings = DEFAULT_SETTINGS,
    device: torch.device | str = "cpu",
) -> list[People]:
    """Find people with a model; see ``PeoplePredictor`` and its ``predict``."""
    return PeoplePredictor(model, image_size, skeleton, settings, device).predict(images)


def predict_maps(
    model: PoseModel, inputs: Tensor, *, skeleton: Skeleton, settings: InferenceSettings = DEFAULT_SETTINGS
) -> tuple[Tensor, Tensor]:
    """Run the network, mirrored too with ``flip_test``, and merge its outputs.

    Args:
        model: The network in eval mode.
        inputs: Normalised images, shape (B, 3, H, W).
        skeleton: The keypoints of the model.
        settings: How people are found.

    Returns:
        Heatmaps, shape (B, K, H/2, W/2), and AE tags, shape (B, K, H/2, W/2, L), L = 2 with ``flip_test``, else 1;
        of the input's size with ``project_to_image``.
    """
    size = (inputs.shape[2], inputs.shape[3]) if settings.project_to_image else None
    with torch.inference_mode():
        heatmaps, tags = _merge_heads(*model(inputs), size)
        if not settings.flip_test:
            return heatmaps, tags[..., None]
        mirrored = _merge_heads(*model(inputs.flip(3)), size)
        mirrored_heatmaps, mirrored_tags = (maps.flip(3)[:, list(skeleton.flip_indices)] for maps in mirrored)
        return (heatmaps + mirrored_heatmaps) / 2, torch.stack([tags, mirrored_tags], dim=-1)


def _merge_heads(head0: Tensor, head1: Tensor, size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Average the heatmaps at head 1's size and upsample the tags to it; both to another size if given."""
    num_keypoints = head1.shape[1]
    upsampled = _resized(head0, (head1.shape[2], head1.shape[3]))
    heatmaps, tags = (upsampled[:, :num_keypoints] + head1) / 2, upsampled[:, num_keypoints:]
    return (heatmaps, tags) if size is None else (_resized(heatmaps, size), _resized(tags, size))


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _in_image(people: FloatArray, to_input: Matrix, input_per_heatmap_pixel: Matrix) -> FloatArray:
    """Move people from heatmap to image pixels; missing joints stay zeros."""
    moved = people.copy()
    found = people[..., 2] > 0
    moved[found, :2] = transform_points(invert(to_input), people[found, :2] * input_per_heatmap_pixel)
    return moved
