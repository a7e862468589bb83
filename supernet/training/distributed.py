"""Data parallelism: the process group that torchrun sets up, and the collectives of a training step.

Every rank runs the same architectures, so their gradients agree in which are None, and one all-reduce averages them.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store, _abort_process_group
from torch.distributed.rendezvous import rendezvous

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.activated_norm import ActivatedNorm
from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d

T = TypeVar("T")

CPU = torch.device("cpu")
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
TIMEOUT = timedelta(hours=1)
"""How long a rank waits for the others: a validation that is shared out unevenly takes minutes."""

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a training: its rank among all nodes' ``world`` processes, from 0, and where it computes."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and logs."""
        return self.rank == 0


SINGLE = Process()
"""Training in one process, on the CPU."""


@contextmanager
def joined_process_group(accelerator: torch.device) -> Iterator[Process]:
    """Join torchrun's process group for the length of a ``with`` block; without torchrun, do nothing.

    Under torchrun a CUDA process takes the device of its local rank. The group is left in good order at the block's
    end, and aborted after an exception, so that a rank whose peers are gone or waiting elsewhere ends at once.

    Raises:
        InputError: If a node has fewer CUDA devices than processes, or torchrun's variables lead to no group.
    """
    if not all(name in os.environ for name in TORCHRUN_VARIABLES):
        yield Process(device=accelerator)
        return
    rank, world, local_rank = (int(os.environ[name]) for name in TORCHRUN_VARIABLES)
    device = _claim_device(accelerator, local_rank)
    try:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=_fresh_store(rank, world), rank=rank, world_size=world, timeout=TIMEOUT)
    except (ValueError, dist.DistError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"cannot join the process group as rank {rank} of {world}: {reason}") from None
    try:
        yield Process(rank, world, device)
    except BaseException:
        _abort_process_group()
        raise
    dist.destroy_process_group()


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], process: Process) -> None:
    """Replace every gradient by its mean over the ranks, in one all-reduce; gradients that are None stay so."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if process.world == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= process.world
    means = flat.split_with_sizes([gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view(gradient.shape))  # by index: ranks may hold a gradient in different memory formats


def gather_objects(value: T, process: Process) -> list[T]:
    """Return every rank's value, by rank, on every rank; a value is anything that can be pickled."""
    if process.world == 1:
        return [value]
    values: list[T | None] = [None] * process.world
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def any_rank(flag: bool, process: Process) -> bool:
    """Say, on every rank, whether a flag is set on any."""
    if process.world == 1:
        return flag
    flags = torch.tensor(int(flag), device=process.device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def run_together(action: Callable[[], object], process: Process) -> None:
    """Do something on every rank; if an ``InputError`` or ``OSError`` stops one there, every rank raises it."""
    caught: InputError | OSError | None = None
    try:
        action()
    except (InputError, OSError) as error:
        caught = error
    for told in gather_objects(caught, process):
        if told is not None:
            raise told


def run_on_main(action: Callable[[], object], process: Process) -> None:
    """Do something on the main rank alone; if an ``InputError`` or ``OSError`` stops it there, every rank raises it."""
    run_together(action if process.is_main else lambda: None, process)


@torch.no_grad()
def broadcast_state(module: nn.Module, process: Process) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if process.world == 1:
        return
    for tensor in chain(module.parameters(), module.buffers()):
        sent = tensor.contiguous()
        dist.broadcast(sent, src=0)
        tensor.copy_(sent)


def synchronise_batch_norms(model: nn.Module, process: Process) -> None:
    """Make every batch norm, in training mode, normalise by the joint batch of all ranks; change the model in place.

    In eval mode it stays as it was. Parameters and buffers are the same objects, so optimisers go on with them.
    """
    for module in model.modules():
        if process.world > 1 and isinstance(module, ActivatedNorm):
            module.__class__ = ElasticBatchNorm2d  # adds no state; of a static network's all channels are active
            cast(ElasticBatchNorm2d, module).synchronised = True


def _fresh_store(rank: int, world: int) -> Store:
    """Return torchrun's store under a prefix that only this start's processes know.

    torchrun keeps its store over restarts, and with it the addresses of the processes that died; how often it has
    restarted, each node counts for itself. So rank 0 invents a name, and answers every rank's latest greeting with it.

    Source: https://github.com/pytorch/pytorch/issues/135712.
    """
    store: Store = next(rendezvous("env://", rank, world, timeout=TIMEOUT))[0]
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"greeting/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.set(f"thanks/{name}/{rank}", "")
        return PrefixStore(name, store)
    waiting = set(range(1, world))
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while waiting:
        waiting -= {other for other in waiting if store.check([f"thanks/{own}/{other}"])}
        for other in waiting:
            if store.check([f"greeting/{other}"]):
                store.set(f"answer/{store.get(f'greeting/{other}').decode()}", own)
        if time.monotonic() > deadline:
            raise dist.DistStoreError(f"ranks {sorted(waiting)} did not come")
        time.sleep(POLL_SECONDS)
    return PrefixStore(own, store)


def _claim_device(accelerator: torch.device, local_rank: int) -> torch.device:
    if accelerator.type != "cuda":
        return accelerator
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise InputError(f"LOCAL_RANK is {local_rank}; torch finds {count} CUDA devices, so it must be below {count}")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device
