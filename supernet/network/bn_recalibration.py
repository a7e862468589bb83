"""Batch-norm statistics of one subnet: reset, then the cumulative average over calibration batches.

Source: Yu & Huang, Universally Slimmable Networks (arXiv:1903.05134), post-statistics of batch normalization.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from litepose_ofa.supernet.errors import NotFiniteError


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace a static network's running statistics by their averages over ``batches``; leave it in eval mode.

    The batches, at least one, are of equally many images (B, 3, H, W), at the size that the network will see.

    Raises:
        NotFiniteError: If statistics are not finite, as the network's activations overflow.
    """
    update_bn(batches, model)
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = [values.sum() for norm in norms for values in norm.buffers() if values.is_floating_point()]
    if not torch.stack(sums).isfinite().all():
        raise NotFiniteError("batch-norm statistics of the network are not finite: its activations overflow")
