"""MACs, parameters and activation memory of an architecture, in closed form: nothing is built."""

from dataclasses import dataclass

from supernet.arch import Arch
from supernet.operators import Operator, operators_of

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Complexity:
    """Costs of one network at batch 1 and its own square input.

    Attributes:
        macs: True multiply-accumulates of the convolutions.
        macs_as_published: The LitePose paper's count: transposed convolutions at their *output* size (four times too
            much), plus 2 per batch-norm element and 1 per activation element.
        params: Trainable parameters.
        peak_activation_bytes: Largest sum of float32 feature maps alive at once, batch norm and activation in place.
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
        >>> from supernet.space import SearchSpace
        >>> measure_complexity(SearchSpace.preset("tiny").smallest()).macs
        8262720
    """
    operators = operators_of(arch, num_keypoints)
    return Complexity(
        macs=sum(operator.macs for operator in operators),
        macs_as_published=sum(_macs_as_published(operator) for operator in operators),
        params=sum(operator.params for operator in operators),
        peak_activation_bytes=_peak_activation_bytes(operators),
    )


def _macs_as_published(operator: Operator) -> int:
    total = 0
    for convolution in operator.convolutions:
        positions = convolution.out_size**2
        elements = convolution.out_channels * positions
        total += convolution.weights * positions + elements * (2 * convolution.norm + convolution.relu)
    return total


def _peak_activation_bytes(operators: list[Operator]) -> int:
    """Walk the network; maps that a fusion deconv or a head reads later stay alive until then."""
    waiting = _raw_maps(operators)
    peak = 0
    for index, operator in enumerate(operators):
        kept = sum(elements for born, last, elements in waiting if born < index < last)
        peak = max(peak, kept + _live_elements(operator))
    return peak * FLOAT_BYTES


def _raw_maps(operators: list[Operator]) -> list[tuple[int, int, int]]:
    """Return (index of the maker, index of the last reader, elements) of every map that is read later on."""
    readers = [i for i, operator in enumerate(operators) if operator.kind in ("fusion_deconv", "head")]
    last_read: dict[tuple[int, int], int] = {}
    for i in readers:
        last_read[operators[i].mid_channels, operators[i].resolution] = i
    maps = []
    for i, operator in enumerate(operators):
        following = operators[i + 1] if i + 1 < len(operators) else None
        stage_ends = following is None or following.kind != "bottleneck" or following.stride == 2
        if operator.kind in ("stem", "bottleneck") and stage_ends:
            key = (operator.out_channels, operator.out_resolution)
            if key in last_read:
                maps.append((i, last_read[key], operator.out_channels * operator.out_resolution**2))
    return maps


def _live_elements(operator: Operator) -> int:
    """Return the most elements alive inside one operator: a step's input and output, and what the operator keeps."""
    size, out = operator.resolution**2, operator.out_resolution**2
    given = operator.in_channels * size
    result = operator.out_channels * out
    if operator.kind == "stem":
        hidden = operator.mid_channels * out
        return max(given + hidden, 2 * hidden, hidden + result)
    if operator.kind == "bottleneck":
        kept = given if operator.residual else 0
        hidden_in, hidden_out = operator.mid_channels * size, operator.mid_channels * out
        return max(given + hidden_in, kept + hidden_in + hidden_out, kept + hidden_out + result)
    raw = operator.mid_channels * size
    return given + raw + 2 * result
