"""Parity: what counts as equal to torch, and what is said of a file that is not."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.export.formats import (
    ExportFormat,
    FloatArray,
    ParityError,
    Runner,
    measure_parity,
    run_torch,
)
from litepose_ofa.supernet.network.litepose import LitePose


class Shifted(ExportFormat):
    """A format that is torch itself, its first head changed."""

    name = "shifted"

    def __init__(
        self, subnet: LitePose, change: Callable[[FloatArray], FloatArray], tolerance: float | None, relative: bool
    ) -> None:
        self.subnet = subnet
        self.change = change
        self.tolerance = tolerance
        self.relative = relative
        self.shapes: list[tuple[int, ...]] = []

    def write(self, folder: Path, subnet: LitePose) -> None:
        raise AssertionError

    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        def run(images: FloatArray) -> tuple[FloatArray, ...]:
            self.shapes.append(images.shape)
            head0, head1 = run_torch(self.subnet, images)
            return self.change(head0), head1

        return run

    def describe(self) -> dict[str, Any]:
        return {}


def one_pixel(by: float) -> Callable[[FloatArray], FloatArray]:
    """Change one value of the last channel, and so of any image."""

    def change(head: FloatArray) -> FloatArray:
        changed = head.copy()
        changed[0, -1, 3, 2] += by
        return changed

    return change


@pytest.mark.parametrize(
    ("by", "tolerance", "relative", "accepted"),
    [
        (0.05, 0.06, False, True),
        (-0.05, 0.04, False, False),
        (0.05, None, False, True),
        (math.nan, None, False, False),
        (math.inf, 1.0, False, False),
        (0.05, 0.06, True, True),
        (0.05, 1e-4, True, False),
    ],
)
def test_a_difference_anywhere_is_held_against_the_tolerance(
    subnet: LitePose, images: Tensor, tmp_path: Path, by: float, tolerance: float | None, relative: bool, accepted: bool
) -> None:
    fmt = Shifted(subnet, one_pixel(by), tolerance, relative)
    if not accepted:
        with pytest.raises(ParityError, match=r"^shifted: differs from torch by .* is accepted$"):
            measure_parity(fmt, tmp_path, subnet, images.numpy())
        return
    parity = measure_parity(fmt, tmp_path, subnet, images.numpy())
    with torch.inference_mode():
        scale = max(float(head.abs().max()) for head in subnet(images))
    assert (parity.images, parity.max_abs_output) == (3, pytest.approx(scale, rel=1e-5))
    assert parity.max_abs_difference == pytest.approx(abs(by), rel=1e-4)
    limit = tolerance * parity.max_abs_output if relative and tolerance is not None else tolerance
    assert parity.tolerance == limit
