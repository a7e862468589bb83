"""Complexity against the published figures, and against counts over built networks that know no closed form."""

import dataclasses
import itertools
import random
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.network.activated_norm import ActivatedNorm
from litepose_ofa.supernet.network.litepose import LitePose

PUBLISHED = {
    "search-XS": (1.676, 0.883, 1.202),
    "search-S": (2.731, 3.614, 4.980),
    "search-M": (3.534, 5.264, 7.842),
    "search-L": (5.738, 9.962, 13.714),
    "prune-S": (1.709, 3.486, None),
    "prune-M": (3.472, 6.849, None),
    "prune-L": (5.813, 10.895, None),
}
"""Millions of parameters at K = 14, true GMACs, GMACs as the paper counts."""

WIDE_STAGE_4 = Arch(
    image_size=64,
    stem_channels=8,
    stages=tuple(
        StageArch(width, stride, (BlockArch(expansion, 3),) * 2)
        for width, stride, expansion in zip((8, 8, 16, 16), STAGE_STRIDES, (1, 1, 1, 30), strict=True)
    ),
    deconv_channels=(8, 8, 8),
)
"""Most memory is needed in stage 4, whose first block has stride 1 and a residual: both end maps are (16, 4, 4)."""

WIDE_HEAD = dataclasses.replace(WIDE_STAGE_4, stages=tuple(StageArch(8, s, (BlockArch(1, 3),)) for s in STAGE_STRIDES))
"""Most memory is needed in head 1, while head 0's maps wait to be returned."""


def count_macs(model: nn.Module, images: torch.Tensor) -> tuple[int, int]:
    """Count multiply-accumulates with forward hooks on a built network: the true ones, and as published."""
    true = published = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal true, published
        match module:
            case nn.ConvTranspose2d():
                true += inputs[0].shape[-2:].numel() * module.weight.numel()
                published += output.shape[-2:].numel() * module.weight.numel()
            case nn.Conv2d():
                macs = output.numel() * module.in_channels // module.groups * module.kernel_size[0] ** 2
                true += macs
                published += macs
            case ActivatedNorm():
                published += (2 if module.ceiling is None else 3) * output.numel()

    for module in model.modules():
        module.register_forward_hook(count)
    model(images)
    return true, published


class MapRecorder(TorchDispatchMode):
    """Notes, operation by operation, which feature maps are written and read; all but convolutions work in place."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.map_of = {id(images): 0}
        self.elements = [images.numel()]
        self.written = [0]
        self.last_read = [0]
        self.kept_alive: list[Any] = [images]  # so that an id is never given twice
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [self.map_of[id(value)] for value in args if id(value) in self.map_of]
        self.kept_alive.append(result)
        if not read:
            return result
        self.operations += 1
        for number in read:
            self.last_read[number] = self.operations
        output = result[0] if isinstance(result, tuple) else result
        if "convolution" in str(func):
            self.map_of[id(output)] = len(self.elements)
            self.elements.append(output.numel())
            self.written.append(self.operations)
            self.last_read.append(self.operations)
        else:
            assert any(name in str(func) for name in ("batch_norm", "hardtanh", "relu", "add")), func
            self.map_of[id(output)] = read[-1]  # x + y is summed into y
        return result


@torch.no_grad()
def peak_bytes(model: nn.Module, images: torch.Tensor) -> int:
    """Run a built network and add up the feature maps alive at each convolution.

    A map lives from the convolution that makes it to the last operation that reads it, the heads to the end.
    """
    with MapRecorder(images) as recorder:
        for head in model(images):
            recorder.last_read[recorder.map_of[id(head)]] = recorder.operations
    lives = list(zip(recorder.elements, recorder.written, recorder.last_read, strict=True))
    return 4 * max(sum(n for n, born, last in lives if born <= now <= last) for now in recorder.written)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_table(name: str, published_archs: dict[str, Arch]) -> None:
    complexity = measure_complexity(published_archs[name])
    millions, gmacs, as_published = PUBLISHED[name]
    assert f"{complexity.params / 1e6:.3f}" == f"{millions:.3f}"
    assert f"{complexity.macs / 1e9:.3f}" == f"{gmacs:.3f}"
    if as_published is not None:
        assert complexity.macs_as_published / 1e9 == pytest.approx(as_published, rel=5e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_costs_equal_counts_over_the_built_network(name: str) -> None:
    """At 64 x 64 pixels; another test shows how costs grow with the input."""
    space, rng = SearchSpace.preset(name), random.Random(0)
    images = torch.zeros(1, 3, 64, 64)
    for arch in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(8))):
        num_keypoints = rng.choice((14, 17))
        model = LitePose(arch, num_keypoints).eval()
        complexity = measure_complexity(arch.with_image_size(64), num_keypoints)
        assert complexity.params == sum(parameter.numel() for parameter in model.parameters())
        assert complexity.peak_activation_bytes == peak_bytes(model, images)
        assert (complexity.macs, complexity.macs_as_published) == count_macs(model, images)


@pytest.mark.parametrize("num_keypoints", [1, 14, 64])
@pytest.mark.parametrize("arch", [WIDE_STAGE_4, WIDE_HEAD], ids=["wide stage 4", "wide head"])
def test_peak_activation_of_unusual_shapes_equals_a_count(arch: Arch, num_keypoints: int) -> None:
    images = torch.zeros(1, 3, arch.image_size, arch.image_size)
    expected = peak_bytes(LitePose(arch, num_keypoints).eval(), images)
    assert measure_complexity(arch, num_keypoints).peak_activation_bytes == expected


def test_only_macs_and_memory_depend_on_the_input_size(published_archs: dict[str, Arch]) -> None:
    arch = published_archs["search-XS"]
    small, large = measure_complexity(arch), measure_complexity(arch.with_image_size(2 * arch.image_size))
    assert dataclasses.astuple(large) == (
        4 * small.macs,
        4 * small.macs_as_published,
        small.params,
        4 * small.peak_activation_bytes,
    )


def test_small_lies_between_tiny_and_litepose() -> None:
    """What its file says of it, in MMACs; and the weights of its supernet, the largest network's, as float16."""
    space = SearchSpace.preset("small")

    def mmacs(size: int) -> list[int]:
        archs = (space.smallest(), space.largest())
        return [round(measure_complexity(arch.with_image_size(size)).macs / 1e6) for arch in archs]

    assert (mmacs(96)[0], mmacs(192)[1]) == (24, 393)
    assert mmacs(128) == [42, 175]
    assert 2 * measure_complexity(space.largest()).params < 3e6


def test_operators_follow_each_other(published_archs: dict[str, Arch]) -> None:
    arch = published_archs["search-L"]
    operators = operators_of(arch)
    kinds = ["stem", *["bottleneck"] * 34, "fusion_deconv", "fusion_deconv", "head", "fusion_deconv", "head"]
    assert [operator.kind for operator in operators] == kinds
    chain = [operator for operator in operators if operator.kind != "head"]
    for before, after in itertools.pairwise(chain):
        assert (after.resolution, after.in_channels) == (before.out_resolution, before.out_channels)
    assert [operator.out_resolution for operator in operators if operator.kind == "head"] == [128, 256]
    assert sum(operator.residual for operator in operators) == 34 - 4
