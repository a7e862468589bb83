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
from litepose_ofa.supernet.errors import InputError, located
from litepose_ofa.supernet.evaluation.people import PeoplePredictor, PoseModel
from litepose_ofa.supernet.export.bundle import CONFIG_FILE, open_export
from litepose_ofa.supernet.export.formats import Runner, require_file
from litepose_ofa.supernet.export.litert import open_litert
from litepose_ofa.supernet.export.ncnn import open_ncnn
from litepose_ofa.supernet.export.onnx_model import open_onnx
from litepose_ofa.supernet.export.peaks import OnnxPeaksFormat
from litepose_ofa.supernet.files import read_yaml

OPENERS: Mapping[str, Callable[..., Runner]] = {".onnx": open_onnx, ".tflite": open_litert, ".param": open_ncnn}
"""Opens a file, by how its name ends; ncnn's ``.bin`` lies beside its ``.param``."""


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
        usage = read_yaml(path)
        try:
            skeleton, keypoints = usage["skeleton"], usage["keypoints"]
            _, _, height, width = usage["input"]["shape"]
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}: lacks skeleton, keypoints or the input's shape as an export has them") from None
        with located(path):
            known = Skeleton.from_dict(skeleton) if isinstance(skeleton, Mapping) else get_skeleton(skeleton)
        if list(known.keypoints) != keypoints:
            raise InputError(f"{path}: its keypoints are not those of the skeleton {known.name!r}")
        if type(height) is not int or height != width:
            raise InputError(f"{path}: the input is {width}x{height}; it must be square")
        return cls(known, height)


@dataclass(frozen=True, slots=True)
class ExportedPose:
    """A network of an export folder, opened.

    Attributes:
        model: What is called.
        usage: How it is fed.
        digest: 12 hexadecimal digits that tell its files from others.
        format: Name of its format.
    """

    model: PoseModel
    usage: ExportedUsage
    digest: str
    format: str

    @classmethod
    def open(cls, path: Path, *, threads: int = 1) -> Self:
        """Open a runtime's file of an export folder; of ncnn's two either may be named.

        Raises:
            InputError: If the folder is not whole, the file is none of a network in it, or its runtime is missing.
        """
        require_file(path)
        manifest = open_export(path.parent)
        files_of = {name: described["files"] for name, described in manifest.formats.items()}
        name = next((name for name, files in files_of.items() if path.name in files), None)
        if name is None:
            known = ", ".join(file for files in files_of.values() for file in files)
            raise InputError(f"{path}: is not a runtime's file of the export, which has {known or 'none'}")
        if name == OnnxPeaksFormat.name:
            raise InputError(f"{path}: gives peaks for a device's own decoder, not heatmaps; use another format's file")
        opened = next(path.parent / file for file in files_of[name] if Path(file).suffix in OPENERS)
        usage = ExportedUsage.load(path.parent)
        digest = "".join(manifest.files[file][: 12 // len(files_of[name])] for file in files_of[name])
        runner = OPENERS[opened.suffix](opened, threads=threads)
        return cls(as_model(runner, usage.image_size), usage, digest, name)


def as_model(runner: Runner, image_size: int) -> PoseModel:
    """Return a network under a runtime as one to call like torch's: images (B, 3, R, R) to the two heads."""

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(images.shape[1:]) != (3, image_size, image_size):
            given = f"{images.shape[3]}x{images.shape[2]}"
            raise InputError(f"the exported file takes inputs of {image_size}x{image_size} pixels; this one is {given}")
        heads = [runner(np.ascontiguousarray(image.cpu().numpy())) for image in torch.split(images, 1)]
        head0, head1 = (torch.from_numpy(np.concatenate(head)) for head in zip(*heads, strict=True))
        return head0, head1

    return run


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
    return path.suffix in OPENERS or path.name.endswith(".ncnn.bin")
