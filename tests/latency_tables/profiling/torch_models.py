"""The kit's models as torch modules, for runtimes whose converters start from torch.

They are made of the blocks of ``litepose_ofa.supernet.network.litepose``, in eval mode, with the weights of
``draw_weights``.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from litepose_ofa.latency_tables.profiling.subjects import (
    ConvolutionWeights,
    NullModel,
    Subject,
    WholeNetwork,
    draw_weights,
)
from litepose_ofa.supernet.archs.arch import (
    STAGE_STRIDES,
    Arch,
    BlockArch,
    StageArch,
)
from litepose_ofa.supernet.archs.operators import Convolution, LayerNames, Operator, operators_of, places_of
from litepose_ofa.supernet.network.litepose import FinalBranch, InvertedBottleneck, LitePose
from litepose_ofa.supernet.network.litepose import Layers as StaticLayers

Layers = Iterator[tuple[nn.Module, nn.Module | None]]
"""An operator's convolutions in the order they run, each with the batch norm that follows it or its sum."""

_SMALL = 8


class FusionDeconv(nn.Module):
    """A fusion deconv by itself: the sum of two transposed convolutions, batch norm, ReLU."""

    def __init__(self, refined: nn.Module, raw: nn.Module, norm_relu: nn.Module) -> None:
        super().__init__()
        self.refined, self.raw, self.norm_relu = refined, raw, norm_relu

    def forward(self, refined: Tensor, raw: Tensor) -> Tensor:
        """Map (B, C, H, W) and (B, C_raw, H, W) to (B, D, 2H, 2W)."""
        y: Tensor = self.norm_relu(self.refined(refined) + self.raw(raw))
        return y


class Head(nn.Module):
    """A head by itself: the sum of its two branches."""

    def __init__(self, refined: nn.Module, raw: nn.Module) -> None:
        super().__init__()
        self.refined, self.raw = refined, raw

    def forward(self, refined: Tensor, raw: Tensor) -> Tensor:
        """Map (B, C, H, W) and (B, C_raw, H, W) to (B, maps, H, W)."""
        y: Tensor = self.refined(refined) + self.raw(raw)
        return y


def build_module(subject: Subject) -> nn.Module:
    """Return a subject as a torch module in eval mode, in float32 on the CPU.

    Its inputs are those of ``subject.input_shapes`` as positional arguments; it computes what the ONNX graph of
    ``litepose_ofa.latency_tables.profiling.graphs.build_graph`` computes, but for rounding.
    """
    if isinstance(subject, NullModel):
        return nn.ReLU().eval()
    if isinstance(subject, WholeNetwork):
        network = LitePose(subject.arch, subject.num_keypoints)
        _set_weights(_network_layers(network), draw_weights(subject))
        return network.eval()
    parts = [_build_operator(operator) for operator in subject.operators]
    _set_weights((_operator_layers(part) for part in parts), draw_weights(subject))
    return (parts[0] if len(parts) == 1 else nn.Sequential(*parts)).eval()


def _build_operator(operator: Operator) -> nn.Module:
    o = operator
    if o.kind == "bottleneck":
        return InvertedBottleneck(o, StaticLayers())
    if o.kind == "head":
        refined, raw = o.convolutions[:2], o.convolutions[2:]
        return Head(FinalBranch(refined, StaticLayers()), FinalBranch(raw, StaticLayers()))
    if o.kind == "stem":
        return _smallest_network(stem=o.out_channels).first
    network = _smallest_network(stage3=o.mid_channels, stage4=o.in_channels, deconv=o.out_channels)
    return FusionDeconv(network.deconv_refined[0], network.deconv_raw[0], network.deconv_bnrelu[0])


def _smallest_network(
    *, stem: int = _SMALL, stage3: int = _SMALL, stage4: int = _SMALL, deconv: int = _SMALL
) -> LitePose:
    """Return a network that has stem and first fusion deconv of these widths."""
    widths = (_SMALL, _SMALL, stage3, stage4)
    stages = (StageArch(w, stride, (BlockArch(1, 3),)) for w, stride in zip(widths, STAGE_STRIDES, strict=True))
    return LitePose(Arch(64, stem, tuple(stages), (deconv, _SMALL, _SMALL)))


def _set_weights(layers: Iterator[Layers], weights: list[list[ConvolutionWeights]]) -> None:
    for operator_layers, operator_weights in zip(layers, weights, strict=True):
        for (convolution, norm), drawn in zip(operator_layers, operator_weights, strict=True):
            convolution.load_state_dict({"weight": torch.from_numpy(drawn.kernel)})
            if norm is not None:
                assert isinstance(norm, nn.BatchNorm2d)
                assert norm.running_var is not None
                assert drawn.shift is not None
                nn.init.ones_(norm.weight)
                norm.bias.data.copy_(torch.from_numpy(drawn.shift))
                norm.running_var.fill_(1 - norm.eps)  # scale 1 in eval mode


def _network_layers(network: LitePose) -> Iterator[Layers]:
    operators = operators_of(network.arch, network.num_keypoints)
    for operator, place in zip(operators, places_of(network.arch.depths), strict=True):
        pairs = zip(place.layers, operator.convolutions, strict=True)
        yield iter([_find_layer(network, names, convolution) for names, convolution in pairs])


def _find_layer(network: LitePose, names: LayerNames, convolution: Convolution) -> tuple[nn.Module, nn.Module | None]:
    norm = names.norm if convolution.norm else None
    return network.get_submodule(names.convolution), None if norm is None else network.get_submodule(norm)


def _operator_layers(operator: nn.Module) -> Layers:
    if isinstance(operator, InvertedBottleneck):
        parts = (operator.inv, operator.depth_conv, operator.point_conv)
        return iter([(part[0], part[1]) for part in parts])
    if isinstance(operator, FusionDeconv):
        return _deconv_layers(operator.refined, operator.raw, operator.norm_relu)
    if isinstance(operator, Head):
        return _head_layers(operator.refined, operator.raw)
    assert isinstance(operator, nn.Sequential)
    first, second, third, norm = operator
    assert isinstance(first, nn.Sequential)
    assert isinstance(second, nn.Sequential)
    return iter([(first[0], first[1]), (second[0], second[1]), (third, norm)])


def _deconv_layers(refined: nn.Module, raw: nn.Module, norm_relu: nn.Module) -> Layers:
    assert isinstance(norm_relu, nn.Sequential)
    return iter([(refined, norm_relu[0]), (raw, None)])


def _head_layers(refined: nn.Module, raw: nn.Module) -> Layers:
    for branch in (refined, raw):
        assert isinstance(branch, FinalBranch)
        yield branch.conv[0], branch.conv[1]
        yield branch.conv[3], None
