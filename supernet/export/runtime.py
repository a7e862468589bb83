"""A file of an export folder as a model that finds people, under the runtime that the file is for.

Legend: B batch, K keypoints, R input size in pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from litepose_ofa.supernet.data.geometry import Matrix
from litepose_ofa.supernet.data.skeletons import Skeleton, get_skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.people import PeoplePredictor
from litepose_ofa.supernet.export.bundle import CONFIG_FILE
from litepose_ofa.supernet.export.formats import Runner
from litepose_ofa.supernet.export.litert import LitertRunner
from litepose_ofa.supernet.export.ncnn import NcnnRunner
from litepose_ofa.supernet.export.onnx_formats import OnnxRunner
from litepose_ofa.supernet.export.verification import open_exported_file
from litepose_ofa.supernet.files import read_yaml

RUNNERS: Mapping[str, Callable[..., Runner]] = {".onnx": OnnxRunner, ".tflite": LitertRunner, ".param": NcnnRunner}
"""What opens a file, by how its name ends; ncnn's ``.bin`` lies beside its ``.param``."""

PEAKS_FORMAT = "onnx_peaks"


@dataclass(frozen=True, slots=True)
class ExportedUsage:
    """How an exported network is fed, of the folder's ``subnet.yaml``.

    Attributes:
        skeleton: Its keypoints.
        image_size: Side of the square input in pixels.
    """

    skeleton: Skeleton
    image_size: int

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the file of an export folder.

        Raises:
            InputError: If it is missing, or does not say what an export says.
        """
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise InputError(f"{path}: no such file; an export folder has one beside its network")
        usage = read_yaml(path)
        try:
            skeleton, shape, names = usage["skeleton"], usage["input"]["shape"], usage["keypoints"]
            _, _, height, width = shape
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: lacks skeleton, keypoints or the input's shape as an export has them") from None
        try:
            known = Skeleton.from_dict(skeleton) if isinstance(skeleton, Mapping) else get_skeleton(skeleton)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if list(known.keypoints) != names:
            raise InputError(f"{path}: its keypoints are not those of the skeleton {known.name!r}")
        if type(height) is not int or height != width:
            raise InputError(f"{path}: the input's shape is {shape}; it must be square, [1, 3, R, R]")
        return cls(known, height)


class RunnerPose:
    """A network under a runtime, to be called like one of torch: images to the two heads.

    Args:
        runner: What runs one image.
        image_size: R.
    """

    def __init__(self, runner: Runner, image_size: int) -> None:
        self._runner = runner
        self._image_size = image_size

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run the images, shape (B, 3, R, R), one by one; heads as those of ``LitePose``, on the CPU.

        Raises:
            InputError: If they are of another size.
        """
        size = self._image_size
        if tuple(images.shape[1:]) != (3, size, size):
            given = f"{images.shape[3]}x{images.shape[2]}"
            raise InputError(f"the exported file takes inputs of {size}x{size} pixels; this one is {given}")
        heads = [self._runner(np.ascontiguousarray(image.cpu().numpy())) for image in torch.split(images, 1)]
        head0, head1 = (torch.from_numpy(np.concatenate(head)) for head in zip(*heads, strict=True))
        return head0, head1


@dataclass(frozen=True, slots=True)
class ExportedPose:
    """A network of an export folder, opened.

    Attributes:
        model: What is called.
        usage: How it is fed.
        digest: 12 hexadecimal digits that tell its files from others.
        format: Name of its format.
    """

    model: RunnerPose
    usage: ExportedUsage
    digest: str
    format: str

    @classmethod
    def open(cls, path: Path, *, threads: int = 1) -> Self:
        """Open a runtime's file of an export folder; of ncnn's two either may be named.

        Raises:
            InputError: If the folder is not whole, the file is none of a network in it, or its runtime is missing.
        """
        manifest = open_exported_file(path)
        name = manifest.format_of(path.name)
        if name is None:
            raise InputError(f"{path}: is no runtime's file; the export has {', '.join(_files(manifest.formats))}")
        if name == PEAKS_FORMAT:
            raise InputError(f"{path}: gives peaks for a device's own decoder, not heatmaps; use another format's file")
        files = manifest.formats[name]["files"]
        opened = next(path.parent / file for file in files if Path(file).suffix in RUNNERS)
        runner = RUNNERS[opened.suffix](opened, threads=threads)
        usage = ExportedUsage.load(path.parent)
        digest = "".join(manifest.files[file][: 12 // len(files)] for file in files)
        return cls(RunnerPose(runner, usage.image_size), usage, digest, name)


class SquarePredictor(PeoplePredictor):
    """Finds people with a network of one input size: the whole image is fitted into the square, what is left is black.

    The arguments are those of ``PeoplePredictor``.
    """

    def fit(self, width: int, height: int) -> tuple[Matrix, tuple[int, int]]:
        """Return the matrix from an image to its input, and the input's (width, height)."""
        side = self.image_size
        zoom = side / max(width, height)
        offsets = [(side - zoom * width) / 2, (side - zoom * height) / 2]
        return np.column_stack([zoom * np.eye(2), offsets]), (side, side)


def is_runtime_file(path: Path) -> bool:
    """Say whether a file's name is one of a runtime's."""
    return path.suffix in RUNNERS or path.name.endswith(".ncnn.bin")


def _files(formats: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    return [file for described in formats.values() for file in described["files"]]
