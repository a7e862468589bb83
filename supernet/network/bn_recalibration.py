"""Batch-norm statistics of one subnet: reset, then the cumulative average over calibration batches.

Source: Yu & Huang, Universally Slimmable Networks (arXiv:1903.05134), post-statistics of batch normalization.
"""

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from litepose_ofa.supernet.errors import NotFiniteError


@torch.no_grad()
def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace running statistics by their equal-weight averages over ``batches``; leave the model in eval mode.

    Args:
        model: A static network.
        batches: Images (B, 3, H, W), of equal B, at the size that the network will see.

    Returns:
        Number of images used.

    Raises:
        ValueError: If there is no batch.
        NotFiniteError: If statistics are not finite, as the network's activations overflow.
    """
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise ValueError("BN recalibration needs at least one batch")
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then keeps the cumulative average
        norm.train()
    count = 0
    try:
        for images in itertools.chain((first,), remaining):
            model(images)
            count += len(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()
    sums = [values.sum() for norm in norms for values in norm.buffers() if values.is_floating_point()]
    if not torch.stack(sums).isfinite().all():
        raise NotFiniteError("batch-norm statistics of the network are not finite: its activations overflow")
    return count
