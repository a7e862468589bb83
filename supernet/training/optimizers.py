"""The optimiser, and the moving average of the weights."""

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from litepose_ofa.supernet.training.settings import OptimizerName

Tensors = tuple[Tensor, ...] | list[Tensor]
SGD_MOMENTUM = 0.9


def make_optimizer(name: OptimizerName, model: nn.Module, *, weight_decay: float) -> Optimizer:
    """Return an optimiser over a model's parameters; its learning rate is set before each step."""
    groups = parameter_groups(model, weight_decay)
    if name == "sgd":  # torch's fused kernel breaks on a momentum that some parameters have and others not yet
        return SGD(groups, lr=0.0, momentum=SGD_MOMENTUM)
    return (Adam if name == "adam" else AdamW)(groups, lr=0.0, fused=True)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Split parameters so that vectors (batch norms) and kernel matrices, whose rest is the identity, do not decay."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        (free if parameter.ndim < 4 else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a model's weights, to be updated after each step.

    The decay rises to its value as (1 + n) / (10 + n) over the first n updates, so that the first, bad weights are soon
    forgotten. Batch-norm statistics are the model's latest.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = float(count)
        step = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        step(averaged, current, count)

    return AveragedModel(model, multi_avg_fn=average)
