"""An architecture as the operators it runs, and how they are wired up: what everything else is derived from.

An ``Operator`` is the unit that complexity, latency tables and the search add up. A ``Place`` is where one stands in
the network: what it reads, which choices determine it, and what its layers are called.

Legend: an operator is square, ``resolution`` is the side of its input in pixels, channels are counts. The three channel
fields mean, by kind:

================= ============================ ========================= ====================
kind              in_channels                  mid_channels              out_channels
================= ============================ ========================= ====================
``stem``          image, 3                     32, both 3x3 convs        C0
``bottleneck``    block input                  expansion x in_channels   block output
``fusion_deconv`` refined input                raw input                 D_i
``head``          refined input                raw input                 maps, 2K or K
================= ============================ ========================= ====================

Source: litepose network definition (arXiv:2205.01271 and mit-han-lab/litepose).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch

STEM_HIDDEN = 32
HEAD_KERNEL = 5
DECONV_KERNEL = 4
NUM_DECONVS = 3

OperatorKind = Literal["stem", "bottleneck", "fusion_deconv", "head"]


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution inside an operator, with the batch norm and activation that follow it.

    ``in_size`` and ``out_size`` are map sides. ``norm`` and ``relu`` count the output elements that pass a batch norm
    and an activation after it (a sum of two convolutions passes them once).
    """

    kind: Literal["conv", "depthwise", "transposed"]
    in_channels: int
    out_channels: int
    kernel: int
    in_size: int
    out_size: int
    norm: bool = False
    relu: bool = False

    @property
    def stride(self) -> int:
        """The step between two outputs; for a transposed convolution that between two inputs."""
        return self.out_size // self.in_size if self.kind == "transposed" else self.in_size // self.out_size

    @property
    def padding(self) -> int:
        """Padding on every side."""
        return (self.kernel - self.stride) // 2 if self.kind == "transposed" else self.kernel // 2

    @property
    def out_elements(self) -> int:
        """Number of values that it writes."""
        return self.out_channels * self.out_size**2

    @property
    def weights(self) -> int:
        """Number of weights (no convolution of LitePose has a bias)."""
        inputs = 1 if self.kind == "depthwise" else self.in_channels
        return inputs * self.out_channels * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates. A transposed convolution multiplies every *input* pixel by the whole kernel."""
        positions = self.in_size**2 if self.kind == "transposed" else self.out_size**2
        return self.weights * positions


@dataclass(frozen=True)
class Operator:
    """The work that one latency-table row measures; hashable, so that it is the key of the row.

    A bottleneck adds its input to its output if its stride is 1 and the widths agree (``residual``).
    """

    kind: OperatorKind
    resolution: int
    in_channels: int
    mid_channels: int
    out_channels: int
    kernel: int
    stride: int
    expansion: int = 0

    @property
    def residual(self) -> bool:
        """Whether a bottleneck adds its input to its output."""
        return self.kind == "bottleneck" and self.stride == 1 and self.in_channels == self.out_channels

    @property
    def out_resolution(self) -> int:
        """Side of the output in pixels (a fusion deconv doubles it)."""
        if self.kind == "fusion_deconv":
            return self.resolution * self.stride
        return self.resolution // self.stride

    @cached_property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The operator's convolutions in the order they run."""
        size, out = self.resolution, self.out_resolution
        c_in, c_mid, c_out, k = self.in_channels, self.mid_channels, self.out_channels, self.kernel
        if self.kind == "stem":
            return (
                Convolution("conv", c_in, c_mid, k, size, out, norm=True, relu=True),
                Convolution("depthwise", c_mid, c_mid, k, out, out, norm=True, relu=True),
                Convolution("conv", c_mid, c_out, 1, out, out, norm=True),
            )
        if self.kind == "bottleneck":
            return (
                Convolution("conv", c_in, c_mid, 1, size, size, norm=True, relu=True),
                Convolution("depthwise", c_mid, c_mid, k, size, out, norm=True, relu=True),
                Convolution("conv", c_mid, c_out, 1, out, out, norm=True),
            )
        if self.kind == "fusion_deconv":
            return (
                Convolution("transposed", c_in, c_out, k, size, out, norm=True, relu=True),
                Convolution("transposed", c_mid, c_out, k, size, out),
            )
        return tuple(
            convolution
            for width in (c_in, c_mid)
            for convolution in (
                Convolution("depthwise", width, width, k, size, out, norm=True, relu=True),
                Convolution("conv", width, c_out, 1, out, out),
            )
        )

    @property
    def reads(self) -> tuple[tuple[int, ...], ...]:
        """The maps that each convolution reads: its input and, where a sum ends, the other summand.

        Maps are numbered, first the operator's inputs, then what its convolutions write, in their order.
        """
        count = len(self.convolutions)
        if self.kind in ("stem", "bottleneck"):
            return tuple((i, 0) if self.residual and i == count - 1 else (i,) for i in range(count))
        if self.kind == "fusion_deconv":
            return (0,), (1, 2)
        return (0,), (2,), (1,), (4, 3)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run at batch 1."""
        return sum(convolution.macs for convolution in self.convolutions)

    @property
    def params(self) -> int:
        """Weights plus the scale and shift of every batch norm."""
        return sum(c.weights + (2 * c.out_channels if c.norm else 0) for c in self.convolutions)


@dataclass(frozen=True, slots=True)
class LayerNames:
    """State-dict names of a convolution and of the batch norm that scales its output, itself or in a sum."""

    convolution: str
    norm: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator stands in a network.

    Attributes:
        kind: What stands there.
        name: ``stem``, ``stage.2.0``, ``deconv.1``, ``head.0``; a block's is its module's.
        index: Its number among the fusion deconvs, or the heads; a block's stage.
        inputs: Numbers of the places whose outputs it reads, refined before raw; the stem reads the images.
        stride: Of the operator.
        reduction: Side of the images over the side of its input.
        choices: Names of the choices, as in ``Arch.chosen``, that determine the operator: the image size, the widths
            that it reads and writes, a block's kernel and expansion.
        widths: Of these the width of each input, then that of the output; a head's is its keypoints'.
        layers: Names of its convolutions' layers, in their order.
        kept: Whether each input is read again further on.
        beside: Numbers of the places whose outputs, not read here, live while it runs; the heads' live to the end.
    """

    kind: OperatorKind
    name: str
    index: int
    inputs: tuple[int, ...]
    stride: int
    reduction: int
    choices: tuple[str, ...]
    widths: tuple[str, ...]
    layers: tuple[LayerNames, ...]
    kept: tuple[bool, ...] = ()
    beside: tuple[int, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether it is a block after the first of its stage, which changes neither width nor size."""
        return self.kind == "bottleneck" and self.widths[0] == self.widths[1]

    @property
    def out_reduction(self) -> int:
        """Side of the images over the side of its output."""
        return self.reduction // self.stride if self.kind == "fusion_deconv" else self.reduction * self.stride

    def operator(self, chosen: Mapping[str, int], num_keypoints: int) -> Operator:
        """Return the operator that runs here."""
        size, widths = chosen["image_size"] // self.reduction, [chosen[name] for name in self.widths]
        if self.kind == "stem":
            return Operator("stem", size, 3, STEM_HIDDEN, widths[0], kernel=3, stride=self.stride)
        before, second = widths[:2]
        if self.kind == "bottleneck":
            kernel, expansion = (chosen[name] for name in self.choices[-2:])
            return Operator("bottleneck", size, before, expansion * before, second, kernel, self.stride, expansion)
        if self.kind == "fusion_deconv":
            return Operator("fusion_deconv", size, before, second, widths[2], DECONV_KERNEL, self.stride)
        return Operator("head", size, before, second, (2 - self.index) * num_keypoints, HEAD_KERNEL, self.stride)


@lru_cache(maxsize=1024)
def places_of(depths: tuple[int, ...]) -> tuple[Place, ...]:
    """Wire up a network: the places of its operators in the order they run.

    Every stage reads the one before. A fusion deconv reads the last deconv, or the last stage, and the output of an
    earlier stage, the raw one, which has its size; the heads read the second and third deconv, and a raw output too.
    """
    places: list[Place] = []

    def add(
        kind: OperatorKind,
        name: str,
        inputs: tuple[int, ...],
        layers: tuple[LayerNames, ...],
        *,
        index: int = 0,
        stride: int = 1,
        width: str | None = None,
        block: tuple[str, ...] = (),
    ) -> int:
        widths = (*(places[i].widths[-1] for i in inputs), *(() if width is None else (width,)))
        reduction = places[inputs[0]].out_reduction if inputs else 1
        choices = ("image_size", *dict.fromkeys(widths), *block)
        places.append(Place(kind, name, index, inputs, stride, reduction, choices, widths, layers))
        return len(places) - 1

    layers: tuple[LayerNames, ...] = tuple(map(_normed, ("first.0.0", "first.1.0", "first.2")))
    raw = [add("stem", "stem", (), layers, stride=2, width="stem")]
    for s, (depth, stage_stride) in enumerate(zip(depths, STAGE_STRIDES, strict=True)):
        before = raw[-1]
        for b in range(depth):
            name, stride = f"stage.{s}.{b}", stage_stride if b == 0 else 1
            layers = tuple(_normed(f"{name}.{part}.0") for part in ("inv", "depth_conv", "point_conv"))
            block = (f"stage{s}.block{b}.kernel", f"stage{s}.block{b}.expansion")
            width = f"stage{s}.width"
            before = add("bottleneck", name, (before,), layers, index=s, stride=stride, width=width, block=block)
        raw.append(before)
    refined = raw.pop()
    for i in range(NUM_DECONVS):
        layers = tuple(LayerNames(f"deconv_{side}.{i}", f"deconv_bnrelu.{i}.0") for side in ("refined", "raw"))
        inputs = (refined, raw.pop())
        refined = add("fusion_deconv", f"deconv.{i}", inputs, layers, index=i, stride=2, width=f"deconv{i}")
        if i > 0:
            branches = (f"final_{side}.{i - 1}.conv" for side in ("refined", "raw"))
            layers = tuple(
                layer for branch in branches for layer in (_normed(f"{branch}.0"), LayerNames(f"{branch}.3", None))
            )
            add("head", f"head.{i - 1}", (refined, raw[-1]), layers, index=i - 1)
    return _with_lifetimes(places)


def _normed(convolution: str) -> LayerNames:
    """Name a convolution and the batch norm that follows it in its module."""
    module, _, number = convolution.rpartition(".")
    return LayerNames(convolution, f"{module}.{int(number) + 1}")


def _with_lifetimes(places: list[Place]) -> tuple[Place, ...]:
    """Say of every place which maps live on: to their last reader, those of the heads to the end."""
    last = {i: len(places) for i, place in enumerate(places) if place.kind == "head"}
    last |= {i: number for number, place in enumerate(places) for i in place.inputs}
    return tuple(
        replace(
            place,
            kept=tuple(last[i] > number for i in place.inputs),
            beside=tuple(i for i in range(number) if last[i] > number and i not in place.inputs),
        )
        for number, place in enumerate(places)
    )


def operators_of(arch: Arch, num_keypoints: int = 14) -> list[Operator]:
    """List the operators of a network in the order they run; equal operators appear as often as they run."""
    chosen = arch.chosen
    return [place.operator(chosen, num_keypoints) for place in places_of(arch.depths)]
