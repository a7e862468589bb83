"""MACs, parameters and activation memory of an architecture, in closed form: nothing is built."""

from collections.abc import Sequence
from dataclasses import dataclass

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of, places_of
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
            kernels comes on top; ``benchmarks/peak_memory.py`` compares it with what a runtime plans.
    """

    macs: int
    macs_as_published: int
    params: int
    peak_activation_bytes: int


def measure_complexity(arch: Arch, num_keypoints: int = 14) -> Complexity:
    """Compute the costs of an architecture.

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
    return sum(
        convolution.weights * convolution.out_size**2
        + convolution.out_elements * (2 * convolution.norm + convolution.relu)
        for convolution in operator.convolutions
    )


def peak_elements(operator: Operator, kept: Sequence[bool]) -> int:
    """Return the greatest number of elements of an operator's maps that live at once: its inputs' and its own.

    A map lives from the convolution that writes it to the last that reads it.
    """
    sides = (operator.in_channels, operator.mid_channels)[: len(kept)]
    sizes = [width * operator.resolution**2 for width in sides]
    last = {number: i for i, reads in enumerate(operator.reads) for number in reads}
    last |= {number: len(operator.reads) for number, again in enumerate(kept) if again}
    alive, peak = sum(sizes), 0
    for i, convolution in enumerate(operator.convolutions):
        sizes.append(convolution.out_elements)
        alive += sizes[-1]
        peak = max(peak, alive)
        alive -= sum(sizes[number] for number in set(operator.reads[i]) if last[number] == i)
    return peak


def _peak_activation_bytes(arch: Arch, operators: list[Operator]) -> int:
    places = places_of(arch.depths)
    outputs = [operator.convolutions[-1].out_elements for operator in operators]
    peaks = (
        sum(outputs[i] for i in place.beside) + peak_elements(operator, place.kept or (False,))
        for place, operator in zip(places, operators, strict=True)
    )
    return max(peaks) * FLOAT_BYTES
