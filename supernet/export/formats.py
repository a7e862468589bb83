"""Export formats, and how far a format's file under its runtime is from the network in torch.

Legend: B images, K keypoints, R input size in pixels.
"""

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.litepose import LitePose

FloatArray = npt.NDArray[np.float32]
Heads = tuple[FloatArray, FloatArray]

Runner = Callable[[FloatArray], tuple[FloatArray, ...]]
"""An exported network opened in its runtime: one normalised image (1, 3, R, R) to ``LitePose``'s heads, (1, 2K, R / 4,
R / 4) and (1, K, R / 2, R / 2), or to a format's own outputs."""

Precision = Literal["float32", "float16"]
"""How a file stores weights; what is computed in is the runtime's choice."""

TOLERANCE = 1e-4
"""Largest absolute difference between a float32 file in its runtime and torch."""

FLOAT16_TOLERANCE = 0.03
"""Largest difference from torch, of the largest output, that weights in float16 may make.

Rounding changes a weight by up to 2**-11 of it, and every layer passes on the changes before it: below 1e-3 of the
largest output were seen of trained networks of ``tiny``, up to 0.02 of published ones with random weights, which pass
on more than trained ones. A wrong or missing layer makes a difference of the order of 1.
"""


class ParityError(RuntimeError):
    """An exported file computes something else than the network it came from."""


class ExportFormat(ABC):
    """A file format of exported networks, with the runtime that opens it.

    A constructor raises ``InputError`` naming the extra to install where a package is missing.

    Attributes:
        name: How ``formats`` names it, such as ``litert_fp16``.
        files: Names of its files.
        tolerance: Largest difference from torch that is accepted; None where it is only reported.
        relative: Whether the tolerance is a fraction of torch's largest output instead of an absolute difference.
    """

    name: str
    files: tuple[str, ...]
    tolerance: float | None = TOLERANCE
    relative: bool = False

    @abstractmethod
    def write(self, folder: Path, subnet: LitePose) -> None:
        """Write the files of a network in eval mode into a folder."""

    @abstractmethod
    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        """Open what ``write`` wrote, in the runtime on the CPU.

        Raises:
            InputError: If a file is missing or damaged.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it: batch, precision, layout, runtime package and version."""

    def differences(self, folder: Path, subnet: LitePose, images: FloatArray) -> Iterator[tuple[float, float]]:
        """Yield of images (B, 3, R, R) how far outputs are from torch's, and torch's largest output; NaN if any is."""
        runner = self.open(folder)
        for image in np.split(images, len(images)):
            yield largest_difference(runner(image), run_torch(subnet, image))


class DeviceFormat(ExportFormat):
    """A format of devices, in either precision; its names end in ``_fp16`` for float16."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.relative = precision == "float16"
        self.tolerance = FLOAT16_TOLERANCE if self.relative else TOLERANCE
        self.suffix = "_fp16" if self.relative else ""

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of batch and precision."""
        return {"batch": 1, "precision": "float16 weights" if self.relative else "float32"}


@dataclass(frozen=True, slots=True)
class Parity:
    """How a format compares with torch.

    Attributes:
        images: Images compared.
        max_abs_difference: Largest difference of any output on any image.
        max_abs_output: Largest output of torch.
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
    found = np.array(list(fmt.differences(folder, subnet, images)))
    difference, scale = found.max(axis=0).tolist()
    limit = fmt.tolerance * scale if fmt.tolerance is not None and fmt.relative else fmt.tolerance
    if not (math.isfinite(difference) and (limit is None or difference <= limit)):
        allowed = "a number" if limit is None else f"at most {limit:.0e}"
        raise ParityError(f"{fmt.name}: differs from torch by {difference:.2e}; {allowed} is accepted")
    return Parity(len(images), difference, scale, limit)


def largest_difference(ours: tuple[FloatArray, ...], theirs: tuple[FloatArray, ...]) -> tuple[float, float]:
    """Return the largest difference of two networks' outputs, and the largest of the other's; NaN if any is."""
    pairs = list(zip(ours, theirs, strict=True))
    return float(np.max([np.abs(a - b).max() for a, b in pairs])), float(np.max([np.abs(b).max() for _, b in pairs]))


@torch.inference_mode()
def run_torch(subnet: LitePose, images: FloatArray) -> Heads:
    """Return the network's heads of images (B, 3, R, R) as arrays."""
    head0, head1 = subnet(torch.from_numpy(images))
    return head0.numpy(), head1.numpy()


def import_optional(module: str, needed_by: str, extra: str) -> Any:
    """Import a package that an extra of ours brings.

    Raises:
        InputError: If it is not installed; the message names what needs it and the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        message = f"{needed_by} needs the package {package}; install it with pip install 'litepose-ofa[{extra}]'"
        raise InputError(message) from None


def require_file(path: Path) -> None:
    """Refuse a file that is missing."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
