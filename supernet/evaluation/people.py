"""Images to people: fit to the input, run the network with its mirror image and scales, merge the heads, decode.

Legend: B batch, N people, K keypoints, H/W map, L tags a pixel, R input size. Frames: image (as stored), input (of the
network), heatmap. Pixel i of each covers [i, i + 1).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from litepose_ofa.supernet.archs.arch import SIZE_MULTIPLE
from litepose_ofa.supernet.codec import decode_people
from litepose_ofa.supernet.data.geometry import Matrix, inference_affine, invert, transform_points, warp
from litepose_ofa.supernet.data.loading.batches import normalise
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.resampling import chain, resample, scaled_frame, scaling
from litepose_ofa.supernet.validation import Count, Fraction, Positive, settings

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

People = tuple[FloatArray, FloatArray]
"""Keypoints, shape (N, K, 3): x, y, response, zeros where missing; and scores, shape (N,)."""

PoseModel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Images (B, 3, H, W) to head 0 (B, 2K, H/4, W/4), heatmaps then AE tags, and head 1 (B, K, H/2, W/2), heatmaps."""


PROJECTION_LIMIT = 4.0
"""Most image pixels along a heatmap pixel: finer ones would cost memory and hold nothing new."""


@settings
class InferenceSettings:
    """How people are found.

    Peaks are picked at the size of head 1, half the input's, unless the maps are projected.

    Attributes:
        flip_test: Run the mirrored image too: heatmaps are averaged, tags compared in both.
        project_to_image: Resample the maps to the image's own pixels before peaks are picked, but to at most
            ``PROJECTION_LIMIT`` pixels along a heatmap pixel: the memory does not grow with the image.
        project_to_input: Resample them to the input's pixels instead, as HigherHRNet (arXiv:1908.10357) does. Either
            way heatmaps are interpolated cubically: a bilinear surface has its peaks at the pixels it had before.
        scales: Sizes of the input that the network runs at, relative to ``image_size``, which is 1 and is one of them;
            the others are rounded to ``size_multiple``. Heatmaps are averaged over the scales in the frame of scale 1,
            tags are those of scale 1.
        refine: Look for a person's missing joints once the people are known.
        threshold: Least response of a heatmap peak.
        max_people: Most people of an image, and most heatmap peaks of each joint.
        size_multiple: What the longer side of the input is a multiple of.
    """

    flip_test: bool = True
    project_to_image: bool = False
    project_to_input: bool = False
    scales: tuple[Positive, ...] = (1.0,)
    refine: bool = True
    threshold: Fraction = 0.1
    max_people: Annotated[int, Field(ge=1, le=10_000)] = 30
    size_multiple: Count = 64

    def __post_init__(self) -> None:
        projections = (self.project_to_image, self.project_to_input)
        require(not all(projections), "project_to_input", self.project_to_input, "false with project_to_image")
        require(self.scales.count(1) == 1, "scales", self.scales, "positive numbers, one of them 1")
        require_size("size_multiple", self.size_multiple)


def require_size(name: str, value: int) -> None:
    """Refuse a side that is not a positive multiple of 16: the network could not halve it as often as it has to."""
    require(value >= 1 and value % SIZE_MULTIPLE == 0, name, value, f"a positive multiple of {SIZE_MULTIPLE}")


DEFAULT_SETTINGS = InferenceSettings()


@dataclass
class PeoplePredictor:
    """A model and how it is run; adds up where the time goes.

    Attributes:
        model: The network in eval mode, on ``device``.
        image_size: Short side of the input in pixels (R).
        skeleton: The keypoints of the model.
        network_seconds: Time in the model so far, all scales and the mirrored image included.
        decode_seconds: Time from its output to people so far.
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
        """Find the people in RGB images (H, W, 3) whose inputs have one size, for one forward pass takes them together.

        Returned is one entry an image, best person first, coordinates in image pixels.
        """
        fitted = [self.fit(image.shape[1], image.shape[0]) for image in images]
        sizes = {size for _, size in fitted}
        assert len(sizes) == 1, f"inputs of the sizes {sorted(sizes)}"
        matrices, input_size = [matrix for matrix, _ in fitted], fitted[0][1]
        heatmaps, tags = self._run(images, matrices, input_size)
        heatmaps = self._average_scales(heatmaps, images, matrices, input_size)
        start = time.perf_counter()
        people = [
            self._decode(image_heatmaps, image_tags, (image.shape[1], image.shape[0]), invert(matrix), input_size)
            for image_heatmaps, image_tags, image, matrix in zip(heatmaps, tags, images, matrices, strict=True)
        ]
        self.decode_seconds += time.perf_counter() - start
        return people

    def _run(
        self, images: Sequence[Image], matrices: Sequence[Matrix], input_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the maps of ``predict_maps`` on the CPU, of images seen through matrices to an input of this size."""
        inputs = np.stack([warp(image, matrix, input_size) for image, matrix in zip(images, matrices, strict=True)])
        start = time.perf_counter()
        normalised = normalise(inputs).to(self.device)
        heatmaps, tags = predict_maps(self.model, normalised, skeleton=self.skeleton, settings=self.settings)
        heatmaps, tags = heatmaps.cpu(), tags.cpu()
        self.network_seconds += time.perf_counter() - start
        return heatmaps, tags

    def _average_scales(
        self, heatmaps: Tensor, images: Sequence[Image], matrices: Sequence[Matrix], input_size: tuple[int, int]
    ) -> Tensor:
        """Return the mean of scale 1's heatmaps and of those at the other scales, in the frame of scale 1."""
        total, map_size = heatmaps, (heatmaps.shape[3], heatmaps.shape[2])
        for scale in self.settings.scales:
            if scale != 1:
                to_scaled, scaled_size = scaled_frame(input_size, scale, self.settings.size_multiple)
                others, _ = self._run(images, [chain(matrix, to_scaled) for matrix in matrices], scaled_size)
                strides = input_size[0] / map_size[0], scaled_size[0] / others.shape[3]
                to_others = chain(scaling(strides[0]), to_scaled, scaling(1 / strides[1]))
                total = total + resample(others, to_others, map_size, cubic=True)
        return total / len(self.settings.scales)

    def _decode(
        self,
        heatmaps: Tensor,
        tags: Tensor,
        image_size: tuple[int, int],
        input_to_image: Matrix,
        input_size: tuple[int, int],
    ) -> People:
        """Return the people of one image, given its maps (K, H, W) and (K, H, W, L); sizes are (width, height)."""
        settings, to_image = self.settings, chain(scaling(input_size[0] / heatmaps.shape[2]), input_to_image)
        if settings.project_to_image or settings.project_to_input:
            from_heatmap = to_image
            if settings.project_to_image:
                pixel = max(1.0, from_heatmap[0, 0] / PROJECTION_LIMIT)
                width, height = (int(np.ceil(length / pixel)) for length in image_size)
                to_image, size = scaling(pixel), (width, height)
            else:
                to_image, size = input_to_image, input_size
            to_heatmap = chain(to_image, invert(from_heatmap))
            heatmaps = resample(heatmaps, to_heatmap, size, cubic=True)
            tags = resample(tags.movedim(-1, 0), to_heatmap, size, cubic=False).movedim(0, -1)
        people, scores = decode_people(
            heatmaps[None],
            tags[None],
            settings.refine,
            max_people=settings.max_people,
            threshold=settings.threshold,
            best=settings.max_people,
        )[0]
        found = people[..., 2] > 0
        people[found, :2] = transform_points(to_image, people[found, :2])
        return people, scores


class SquarePredictor(PeoplePredictor):
    """Finds people with a network of one input size: the square holds an image whole, and black beside it."""

    def fit(self, width: int, height: int) -> tuple[Matrix, tuple[int, int]]:
        """Return the matrix from an image to its input, and the input's (width, height)."""
        side = self.image_size
        zoom = side / max(width, height)
        offsets = [(side - zoom * width) / 2, (side - zoom * height) / 2]
        return np.column_stack([zoom * np.eye(2), offsets]), (side, side)


def predict_maps(
    model: PoseModel, inputs: Tensor, *, skeleton: Skeleton, settings: InferenceSettings = DEFAULT_SETTINGS
) -> tuple[Tensor, Tensor]:
    """Run a network in eval mode on inputs (B, 3, H, W), mirrored too with ``flip_test``, and merge its outputs.

    Returns:
        Heatmaps, shape (B, K, H/2, W/2), and AE tags, shape (B, K, H/2, W/2, L), L = 2 with ``flip_test``, else 1.
    """
    with torch.inference_mode():
        heatmaps, tags = merge_heads(*model(inputs))
        if not settings.flip_test:
            return heatmaps, tags[..., None]
        mirrored = merge_heads(*model(inputs.flip(3)))
        mirrored_heatmaps, mirrored_tags = (maps.flip(3)[:, list(skeleton.flip_indices)] for maps in mirrored)
        return (heatmaps + mirrored_heatmaps) / 2, torch.stack([tags, mirrored_tags], dim=-1)


def merge_heads(head0: Tensor, head1: Tensor) -> tuple[Tensor, Tensor]:
    """Average the heatmaps at head 1's size and upsample the tags to it, (B, K, H/2, W/2) both."""
    num_keypoints, size = head1.shape[1], (head1.shape[2], head1.shape[3])
    upsampled = F.interpolate(head0, size=size, mode="bilinear", align_corners=False)
    return (upsampled[:, :num_keypoints] + head1) / 2, upsampled[:, num_keypoints:]
