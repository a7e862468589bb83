"""What an export format is, and how far its file under its runtime is from the network in torch.

Legend: B images, K keypoints, R input size in pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from litepose_ofa.supernet.network.litepose import LitePose

FloatArray = npt.NDArray[np.float32]
Heads = tuple[FloatArray, FloatArray]


class ParityError(RuntimeError):
    """An exported file computes something else than the network it came from."""


class Runner(Protocol):
    """An exported network, opened in its runtime."""

    def __call__(self, images: FloatArray) -> tuple[FloatArray, ...]:
        """Run one image, shape (1, 3, R, R), normalised, in NCHW order.

        Returns:
            head0, shape (1, 2K, R / 4, R / 4), and head1, shape (1, K, R / 2, R / 2), as ``LitePose`` has them; of a
            format with ``OwnOutputs``, those.
        """


class ExportFormat(Protocol):
    """A file format of exported networks, with the runtime that opens it.

    A constructor raises ``InputError`` naming the extra to install where a package is missing.
    """

    @property
    def name(self) -> str:
        """How ``formats`` names it, such as ``litert_fp16``."""

    @property
    def tolerance(self) -> float | None:
        """Largest difference from torch that is accepted; None where it is only reported."""

    @property
    def relative(self) -> bool:
        """Whether the tolerance is a share of torch's largest output instead of an absolute difference."""

    def write(self, folder: Path, subnet: LitePose) -> list[str]:
        """Write the files of a network in eval mode into a folder, and return their names."""

    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        """Open what ``write`` wrote.

        Raises:
            InputError: If a file is missing, or the runtime cannot open it.
        """

    def describe(self) -> Mapping[str, Any]:
        """Return what a manifest says of it: batch, precision, layout, runtime package and version."""


@runtime_checkable
class OwnOutputs(Protocol):
    """A format whose file gives other outputs than the two heads, and so compares them itself."""

    def compare(self, folder: Path, subnet: LitePose, images: FloatArray) -> "Difference":
        """Return how far the file's outputs on images (B, 3, R, R) are from what torch and the decoder give."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far outputs are from torch's.

    Attributes:
        max_abs_difference: Largest difference of any output on any image; NaN if any output is.
        max_abs_output: Largest output of torch, which the difference may be held against.
    """

    max_abs_difference: float
    max_abs_output: float


@dataclass(frozen=True, slots=True)
class Parity:
    """What a format's run against torch came to.

    Attributes:
        images: Images compared.
        max_abs_difference: As of ``Difference``.
        max_abs_output: As of ``Difference``.
        tolerance: Largest absolute difference that was accepted; None where it is only reported.
    """

    images: int
    max_abs_difference: float
    max_abs_output: float
    tolerance: float | None


def measure_parity(fmt: ExportFormat, folder: Path, subnet: LitePose, images: FloatArray) -> Parity:
    """Run a format's file through its runtime and compare its outputs with the network's.

    Args:
        fmt: The format, whose files are in the folder.
        folder: The export folder.
        subnet: The network, in eval mode, on the CPU.
        images: Normalised images (B, 3, R, R); they are run one by one.

    Raises:
        ParityError: If the difference exceeds the format's tolerance, or is NaN.
    """
    found = (
        fmt.compare(folder, subnet, images) if isinstance(fmt, OwnOutputs) else _compare(fmt, folder, subnet, images)
    )
    limit = fmt.tolerance
    if limit is not None and fmt.relative:
        limit *= found.max_abs_output
    difference = found.max_abs_difference
    if not (math.isfinite(difference) and (limit is None or difference <= limit)):
        allowed = "a number" if limit is None else f"at most {limit:.0e}"
        raise ParityError(f"{fmt.name}: differs from torch by {difference:.2e}; {allowed} is accepted")
    return Parity(len(images), difference, found.max_abs_output, limit)


def _compare(fmt: ExportFormat, folder: Path, subnet: LitePose, images: FloatArray) -> Difference:
    runner = fmt.open(folder)
    differences, scales = list[float](), list[float]()
    for image in np.split(images, len(images)):
        for ours, theirs in zip(runner(image), run_torch(subnet, image), strict=True):
            differences.append(float(np.abs(ours - theirs).max()))
            scales.append(float(np.abs(theirs).max()))
    return Difference(float(np.max(differences)), float(np.max(scales)))  # unlike Python's max, NaN if any is


@torch.inference_mode()
def run_torch(subnet: LitePose, images: FloatArray) -> Heads:
    """Return the network's heads of images (B, 3, R, R) as arrays."""
    head0, head1 = subnet(torch.from_numpy(images))
    return head0.numpy(), head1.numpy()
