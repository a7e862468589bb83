"""A program for ``test_distributed.py`` to start on several ranks: run the collectives, save what this rank saw.

Usage: run_ranks.py FOLDER, or run_ranks.py FOLDER RANK for that rank to die without a word.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d
from litepose_ofa.supernet.training.distributed import (
    Process,
    average,
    average_gradients,
    gather_objects,
    joined_process_group,
    synchronise_batch_norms,
)

COLLECTIVES = {"all_reduce": dist.all_reduce, "all_gather": dist.all_gather}
NORM_CASES = {
    "float64": (torch.float64, (3, 3), 8, torch.contiguous_format),
    "float32": (torch.float32, (3, 3), 8, torch.contiguous_format),
    "uneven": (torch.float64, (1, 4), 8, torch.contiguous_format),
    "leading channels": (torch.float64, (2, 3), 5, torch.contiguous_format),
    "channels last": (torch.float32, (2, 2), 8, torch.channels_last),
    "bfloat16": (torch.bfloat16, (2, 2), 8, torch.channels_last),
}
"""Input dtype, images of rank 0 and 1, active channels of 8, memory format."""


def calls_during(action: Callable[[], object]) -> dict[str, int]:
    """Count the calls of the collectives."""
    with mock.patch.multiple(dist, all_reduce=mock.DEFAULT, all_gather=mock.DEFAULT) as mocks:
        for name, replacement in mocks.items():
            replacement.side_effect = COLLECTIVES[name]
        action()
    return {name: replacement.call_count for name, replacement in mocks.items() if replacement.called}


def check_gradients(process: Process) -> dict[str, Any]:
    """Average gradients that are None, channels-last on one rank alone, or plain."""
    generator = torch.Generator().manual_seed(process.rank)
    shapes = ((4, 3, 2, 2), (5,), (), (2, 2))
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters[:3]:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    if process.rank == 0 and parameters[0].grad is not None:
        parameters[0].grad = parameters[0].grad.contiguous(memory_format=torch.channels_last)
    before = [None if p.grad is None else p.grad.clone() for p in parameters]
    calls = calls_during(lambda: average_gradients(iter(parameters), process))
    calls_without = calls_during(lambda: average_gradients([parameters[3]], process))
    return {"before": before, "after": [p.grad for p in parameters], "calls": [calls, calls_without]}


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
    outputs: list[Tensor] = []
    forward_calls = calls_during(lambda: outputs.append(norm(x)))
    backward_calls = calls_during(lambda: outputs[0].backward(gradient))
    return {
        "x": x.detach(),
        "gradient": gradient,
        "y": outputs[0].detach(),
        "of_x": x.grad,
        "of_weight": norm.weight.grad,
        "of_bias": norm.bias.grad,
        "before": before,
        "after": norm.state_dict(),
        "calls": [forward_calls, backward_calls],
    }


def main(folder: Path, dying: int | None) -> None:
    torch.set_num_threads(1)
    with joined_process_group(torch.device("cpu")) as process:
        if process.rank == dying:
            os._exit(7)
        values = torch.tensor([process.rank, 3.0], dtype=torch.float64)
        results = {
            "process": process,
            "gradients": check_gradients(process),
            "norm": {case: check_norm(process, case) for case in NORM_CASES},
            "average": (average(values, process), values),
            "objects": gather_objects({"rank": process.rank}, process),
        }
    torch.save(results | {"left": not dist.is_initialized()}, folder / f"{process.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
