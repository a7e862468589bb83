"""MACs, parameters and activation memory of an architecture, in closed form: nothing is built."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Convolution, Operator, operators_of
from litepose_ofa.supernet.errors import InputError

FLOAT_BYTES = 4
GIB = 2**30
MOST_WEIGHTS_GIB, MOST_MAPS_GIB, MOST_MACS = 2, 4, 10**12
"""Far above any sensible network, which has megabytes and at most some 10^10 MACs."""


@dataclass(frozen=True, slots=True)
class Complexity:
    """Costs of one network at batch 1 and its own square input.

    Attributes:
        macs: True multiply-accumulates of the convolutions.
        macs_as_published: The LitePose paper's count: transposed convolutions at their *output* size (four times too
            much), plus 2 per batch-norm element and 1 per activation element.
        params: Trainable parameters.
        peak_activation_bytes: Largest sum of float32 feature maps alive at once; a map lives from the convolution that
            writes it to the last that reads it, and batch norm, activation and sums work in place. Working memory of
            kernels comes on top; ``litepose_ofa.supernet.export.memory`` measures what a runtime plans.
    """

    macs: int
    macs_as_published: int
    params: int
    peak_activation_bytes: int


def measure_complexity(arch: Arch, num_keypoints: int = 14) -> Complexity:
    """Compute the costs of an architecture.

    Args:
        arch: The architecture.
        num_keypoints: K, 14 for CrowdPose and 17 for COCO.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> measure_complexity(SearchSpace.preset("tiny").smallest()).macs
        8262720
    """
    operators = operators_of(arch, num_keypoints)
    return Complexity(
        macs=sum(operator.macs for operator in operators),
        macs_as_published=sum(_macs_as_published(operator) for operator in operators),
        params=sum(operator.params for operator in operators),
        peak_activation_bytes=_peak_activation_bytes(arch, operators),
    )


def require_buildable(arch: Arch, num_keypoints: int) -> None:
    """Refuse a network that would ask for gigabytes or minutes by the word of a file, before it is built.

    Raises:
        InputError: If weights, feature maps or MACs are beyond any sensible network's; the message says by how much.
    """
    costs = measure_complexity(arch, num_keypoints)
    for name, value, most, unit in (
        ("weights", costs.params * FLOAT_BYTES / GIB, MOST_WEIGHTS_GIB, "GiB"),
        ("feature maps", costs.peak_activation_bytes / GIB, MOST_MAPS_GIB, "GiB"),
        ("work", costs.macs, MOST_MACS, "multiply-accumulates"),
    ):
        if value > most:
            raise InputError(f"the architecture's {name} would be {value:.3g} {unit}; at most {most:.3g} are allowed")


def _macs_as_published(operator: Operator) -> int:
    total = 0
    for convolution in operator.convolutions:
        positions = convolution.out_size**2
        elements = convolution.out_channels * positions
        total += convolution.weights * positions + elements * (2 * convolution.norm + convolution.relu)
    return total


@dataclass(frozen=True, slots=True)
class _Step:
    """One convolution: the feature maps it reads, by number, and the elements of the one it writes.

    Map 0 is the image, map i + 1 what step i writes. A sum is made in place, in the step of its last summand.
    """

    reads: tuple[int, ...]
    elements: int


def _peak_activation_bytes(arch: Arch, operators: list[Operator]) -> int:
    """Walk the network; a map lives from the step that writes it to the last that reads it; the heads stay."""
    steps = _steps(arch, operators)
    sizes = [operators[0].in_channels * operators[0].resolution ** 2, *(step.elements for step in steps)]
    last_reader = {number: i for i, step in enumerate(steps) for number in step.reads}
    alive, peak = sizes[0], 0
    for i, step in enumerate(steps):
        alive += step.elements
        peak = max(peak, alive)
        alive -= sum(sizes[number] for number in set(step.reads) if last_reader[number] == i)
    return peak * FLOAT_BYTES


def _steps(arch: Arch, operators: list[Operator]) -> list[_Step]:
    """Return the convolutions in the order they run."""
    steps: list[_Step] = []
    stage_ends = set(itertools.accumulate((len(stage.blocks) for stage in arch.stages), initial=0))
    current, fused = 0, 0
    raw: list[int] = []
    for i, operator in enumerate(operators):
        convolutions = operator.convolutions
        if operator.kind in ("stem", "bottleneck"):
            current = _run(steps, convolutions, current, summand=current if operator.residual else None)
            if i in stage_ends:
                raw.append(current)
            continue
        half = len(convolutions) // 2
        refined = _run(steps, convolutions[:half], current)
        total = _run(steps, convolutions[half:], raw[3 - fused], summand=refined)
        if operator.kind == "fusion_deconv":
            current, fused = total, fused + 1
    return steps


def _run(steps: list[_Step], convolutions: Sequence[Convolution], source: int, summand: int | None = None) -> int:
    """Append a chain of convolutions that starts from a map; return the number of its result, ``summand`` added."""
    for convolution in convolutions:
        added = (summand,) if summand is not None and convolution is convolutions[-1] else ()
        steps.append(_Step((source, *added), convolution.out_channels * convolution.out_size**2))
        source = len(steps)
    return source
