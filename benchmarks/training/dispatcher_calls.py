"""How many calls of torch a training step makes, and how often the host waits for the device in it.

    python benchmarks/training/dispatcher_calls.py

At small batches a GPU waits for the host, which pays for every call. Calls are counted as a dispatch mode sees them, on
a CPU, but without what only a CPU does. Waits are those on the device ``meta``: it has no values, so whatever else
would read one raises an error, as does an operation on tensors of two devices. The moving average of the weights, which
comes after a step, is left out: its count is read by the host.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_step import make_batch, our_step

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network import cpu_kernels, dense
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training import step
from litepose_ofa.supernet.training.recipe import Phase, StepPlan, SupernetPlan, WarmupCosine

SIZE, BATCH = 64, 2  # the number of calls depends on neither


class Calls(TorchDispatchMode):
    """Counts calls by name."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.by_name[str(func)] += 1
        return func(*args, **(kwargs or {}))


def sandwich_step(
    device: torch.device, name: str = "litepose", size: int = SIZE, batch: int = BATCH, precision: str = "float32"
) -> Callable[[], object]:
    """Return a step of a space: its largest, its smallest and two random subnets, with in-place distillation."""
    torch.manual_seed(0)
    space = SearchSpace.preset(name)
    phase = Phase("benchmark", 1, WarmupCosine(1e-3), rule="sandwich", teacher="largest", num_random=2)
    plan = StepPlan(phase, True, size, SupernetPlan(space, (phase,), 0)(0).subnets, 1e-3, 0.0)
    images = make_batch(batch, size, torch.device("cpu")).to(device)
    return our_step(LitePoseSupernet(space).to(device), images, plan, precision)


def calls_of_a_step() -> Counter[str]:
    """Count the second step's, which finds the optimiser's state made."""
    run = sandwich_step(torch.device("cpu"))
    with (
        mock.patch.object(cpu_kernels, "functions", return_value=None),
        mock.patch.object(dense, "_is_product", return_value=False),
    ):
        run()
        with Calls() as calls:
            run()
    return calls.by_name


def waits_of_a_step() -> int:
    """Count how often a step reads values."""
    with (
        mock.patch.object(step, "_read", side_effect=lambda values: [0.0] * len(values)) as read,
        mock.patch("torch.optim.adam._device_dtype_check_for_fused"),  # it has no list of devices without values
    ):
        sandwich_step(torch.device("meta"))()
    return read.call_count


def main() -> None:
    torch.set_num_threads(1)
    calls = calls_of_a_step()
    print(f"a step of four subnets of litepose: {sum(calls.values()):,} calls, {waits_of_a_step()} wait for the device")
    for name, number in calls.most_common(12):
        print(f"    {number:6,} {name}")


if __name__ == "__main__":
    main()
