"""Batch norms folded into the convolutions before them, as weights for other formats.

In eval mode a batch norm is a scale and a shift a channel. The scale goes into the kernel before it, the shift becomes
its bias. A fusion deconv's norm follows the sum of two transposed convolutions: the scale goes into both kernels, the
shift into the first one's bias. The arithmetic is float64, whatever the network's.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from litepose_ofa.supernet.archs.operators import Convolution, LayerNames, operators_of, places_of
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass(frozen=True, slots=True)
class FoldedConvolution:
    """Weights of one convolution without a batch norm, float32.

    Attributes:
        name: What nodes and weights of a file are called after; of a LitePose, the convolution's in the state dict.
        kernel: (out, in / groups, k, k); of a transposed convolution (in, out, k, k).
        bias: (out,), or None.
    """

    name: str
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32] | None


def fold_weights(subnet: LitePose) -> list[list[FoldedConvolution]]:
    """Return the weights of a network as it runs in eval mode, its batch norms folded.

    Returns:
        One list an operator of ``operators_of(subnet.arch, subnet.num_keypoints)``, in the order of its convolutions.
    """
    operators = operators_of(subnet.arch, subnet.num_keypoints)
    return [
        [
            FoldedConvolution(names.convolution, _to_numpy(kernel), None if bias is None else _to_numpy(bias))
            for names, convolution in zip(place.layers, operator.convolutions, strict=True)
            for kernel, bias in [fold_layer(subnet, names, convolution)]
        ]
        for place, operator in zip(places_of(subnet.arch.depths), operators, strict=True)
    ]


def fold_layer(subnet: LitePose, names: LayerNames, convolution: Convolution) -> tuple[Tensor, Tensor | None]:
    """Return the kernel and the bias, in float64, of a convolution whose batch norm is folded into it."""
    kernel = subnet.get_parameter(f"{names.convolution}.weight").detach().double()
    if names.norm is None:
        return kernel, None
    norm = subnet.get_submodule(names.norm)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.detach().double() - norm.running_mean.double() * scale
    shape = (1, -1, 1, 1) if convolution.kind == "transposed" else (-1, 1, 1, 1)
    return kernel * scale.reshape(shape), shift if convolution.norm else None


def _to_numpy(weights: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = weights.to("cpu", torch.float32).numpy()
    return values
