"""In which numbers a file stores weights, and how near to torch it must then be."""

from typing import Literal

from litepose_ofa.supernet.export.onnx_model import TOLERANCE

Precision = Literal["float32", "float16"]

FLOAT16_TOLERANCE = 0.03
"""Largest difference from torch, of the largest output, that weights in float16 may make.

Rounding changes a weight by up to 2**-11 of it, and every layer passes on the changes before it: below 1e-3 of the
largest output were seen of trained networks of ``tiny``, up to 0.02 of published ones with random weights, which pass
on more than trained ones. A wrong or missing layer makes a difference of the order of 1.
"""


def tolerance_of(precision: Precision) -> float:
    """Return the largest difference from torch: absolute of float32, of the largest output of float16."""
    return TOLERANCE if precision == "float32" else FLOAT16_TOLERANCE


def name_of(precision: Precision) -> str:
    """Return what a manifest calls it."""
    return "float32" if precision == "float32" else "float16 weights"
