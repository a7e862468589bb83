"""A program for ``test_distributed.py`` to start on several ranks: run the collectives, save what this rank saw.

Usage: run_ranks.py FOLDER, or run_ranks.py FOLDER RANK for that rank to die without a word.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d
from litepose_ofa.supernet.training.distributed import (
    Process,
    joined_process_group,
    synchronise_batch_norms,
)

NORM_CASES = {
    "float64": (torch.float64, (3, 3), 8, torch.contiguous_format),
    "float32": (torch.float32, (3, 3), 8, torch.contiguous_format),
    "uneven": (torch.float64, (1, 4), 8, torch.contiguous_format),
    "leading channels": (torch.float64, (2, 3), 5, torch.contiguous_format),
    "channels last": (torch.float32, (2, 2), 8, torch.channels_last),
    "bfloat16": (torch.bfloat16, (2, 2), 8, torch.channels_last),
}
"""Input dtype, images of rank 0 and 1, active channels of 8, memory format."""


def check_norm(process: Process, case: str) -> dict[str, Any]:
    """Run one synchronised norm forward and backward on this rank's part of the batch."""
    dtype, sizes, channels, memory_format = NORM_CASES[case]
    generator = torch.Generator().manual_seed(process.rank)
    x, gradient = torch.randn(2, sizes[process.rank], channels, 4, 6, generator=generator, dtype=torch.float64)
    x = (x + 2 * process.rank).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    gradient = gradient.to(dtype).contiguous(memory_format=memory_format)
    norm = ElasticBatchNorm2d(8).to(torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 8))
        norm.bias.copy_(torch.linspace(-1, 1, 8))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    synchronise_batch_norms(nn.Sequential(norm), process)
    y = norm(x)
    y.backward(gradient)
    return {
        "x": x.detach(),
        "gradient": gradient,
        "y": y.detach(),
        "of_x": x.grad,
        "of_weight": norm.weight.grad,
        "of_bias": norm.bias.grad,
        "before": before,
        "after": norm.state_dict(),
    }


def run_checks(process: Process) -> dict[str, Any]:
    return {
        "process": process,
        "norm": {case: check_norm(process, case) for case in NORM_CASES},
    }


def main(folder: Path, dying: int | None) -> None:
    torch.set_num_threads(1)
    with joined_process_group(torch.device("cpu")) as process:
        if process.rank == dying:
            os._exit(7)
        results = run_checks(process)
    results["left"] = not dist.is_initialized()
    torch.save(results, folder / f"{process.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
