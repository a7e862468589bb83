"""An export folder's ONNX file as a model that finds people, through ONNX Runtime.

Legend: B batch, K keypoints, R input size in pixels.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from supernet.data.geometry import Matrix
from supernet.data.skeletons import Skeleton, get_skeleton
from supernet.errors import InputError
from supernet.evaluation.people import PeoplePredictor
from supernet.export.bundle import CONFIG_FILE, MANIFEST_FILE
from supernet.export.onnx_model import INPUT_NAME, OUTPUT_NAMES
from supernet.files import read_json, read_yaml


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
    def load(cls, folder: Path) -> "ExportedUsage":
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


class OnnxPose:
    """A network in an ONNX file, to be called like one of torch: images to the two heads.

    Args:
        path: The file, in an export folder; it takes one image of one size.
        usage: How it is fed.

    Attributes:
        digest: First 12 hexadecimal digits of the file's SHA-256.

    Raises:
        InputError: If the file is missing, damaged, is not what the folder's manifest says, or does not fit ``usage``.
    """

    def __init__(self, path: Path, usage: ExportedUsage) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        content = path.read_bytes()
        full_digest = hashlib.sha256(content).hexdigest()
        _require_manifest(path, full_digest)
        self.digest = full_digest[:12]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class for every way in which a file is broken
            raise InputError(f"{path}: ONNX Runtime cannot open it ({' '.join(str(error).split())[:160]})") from None
        size, keypoints = usage.image_size, usage.skeleton.num_keypoints
        expected = {
            INPUT_NAME: [1, 3, size, size],
            OUTPUT_NAMES[0]: [1, 2 * keypoints, size // 4, size // 4],
            OUTPUT_NAMES[1]: [1, keypoints, size // 2, size // 2],
        }
        found = {value.name: value.shape for value in (*self._session.get_inputs(), *self._session.get_outputs())}
        for name, shape in expected.items():
            if found.get(name) != shape:
                raise InputError(f"{path}: {name} has the shape {found.get(name)}; {CONFIG_FILE} says {shape}")
        self._input_shape = (3, size, size)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Run the images, shape (B, 3, R, R), one by one; heads as those of ``LitePose``, on the CPU.

        Raises:
            InputError: If they are of another size.
        """
        if tuple(images.shape[1:]) != self._input_shape:
            needed, given = self._input_shape[1], f"{images.shape[3]}x{images.shape[2]}"
            raise InputError(f"the ONNX file takes inputs of {needed}x{needed} pixels; this one is {given}")
        heads: list[list[Any]] = [
            self._session.run(OUTPUT_NAMES, {INPUT_NAME: np.ascontiguousarray(image.cpu().numpy())})
            for image in torch.split(images, 1)
        ]
        head0, head1 = (torch.from_numpy(np.concatenate(head)) for head in zip(*heads, strict=True))
        return head0, head1


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


def _require_manifest(path: Path, digest: str) -> None:
    """Refuse a file that is not the one that was checked when it was exported."""
    manifest = path.parent / MANIFEST_FILE
    if not manifest.is_file():
        return
    content = read_json(manifest)
    recorded = content.get("sha256", {}).get(path.name) if isinstance(content, dict) else None
    if recorded is not None and recorded != digest:
        raise InputError(f"{path}: is damaged: its SHA-256 is not the one in {MANIFEST_FILE}")
