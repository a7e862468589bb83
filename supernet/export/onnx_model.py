"""A subnet as an ONNX file, and its outputs under ONNX Runtime against torch's."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from supernet.litepose import LitePose

OPSET = 20
INPUT_NAME = "images"
OUTPUT_NAMES = ("head0", "head1")
TOLERANCE = 1e-4
"""Largest absolute difference between ONNX Runtime and torch that an export may have, float32."""


class ParityError(RuntimeError):
    """An exported file computes something else than the network it came from."""


def export_onnx(path: Path, subnet: LitePose) -> None:
    """Write a network as ONNX, weights inside: input ``images`` (1, 3, R, R), outputs ``head0`` and ``head1``.

    Args:
        path: The file to write.
        subnet: In eval mode.
    """
    size = subnet.arch.image_size
    example = torch.zeros(1, 3, size, size, device=next(subnet.parameters()).device)
    with _quiet():
        torch.onnx.export(
            subnet,
            (example,),
            path,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@torch.inference_mode()
def measure_parity(path: Path, subnet: LitePose, images: Tensor) -> float:
    """Return the largest absolute difference between the file under ONNX Runtime (CPU) and the network.

    Args:
        path: The ONNX file.
        subnet: The network, in eval mode.
        images: Inputs (B, 3, R, R); the file runs them one by one.

    Raises:
        ParityError: If the difference exceeds ``TOLERANCE``.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for image in torch.split(images, 1):
        ours = session.run(OUTPUT_NAMES, {INPUT_NAME: image.cpu().numpy()})
        theirs = subnet(image)
        differences += [np.abs(a - b.cpu().numpy()).max() for a, b in zip(ours, theirs, strict=True)]
    worst = float(np.max(differences))  # unlike Python's max, NaN if any is
    if not worst <= TOLERANCE:
        raise ParityError(f"{path}: differs from torch by {worst:.2e}; at most {TOLERANCE:.0e} is accepted")
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's account of its own passes, and its deprecations, off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logging.disable(level)
