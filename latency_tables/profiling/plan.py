"""What one profiling run times: operators alone and in chains, whole networks, the empty call, the probe."""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.subjects import NullModel, OperatorChain, Subject, WholeNetwork
from litepose_ofa.latency_tables.rows import KINDS
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

LEAST_OF_A_KIND = 8
"""Operators of one kind that the others of it can be fitted from."""

LEAST_OF_A_CLASS = 2
"""Of those, operators with one class of convolution: from one the others are fitted when the other is held out."""

ConvolutionClass = tuple[str, int]
"""Kind and kernel of a convolution."""

CHAIN_MACS = 100_000_000
CHAIN_COPIES = (4, 8)
"""A chain has as many copies as make ``CHAIN_MACS``, within these bounds: long enough that their time stands out from
what is the same in the chain of one, short enough that the largest operators do not hold up the run."""


@dataclass(frozen=True, kw_only=True)
class ProfilingPlan:
    """What a kit holds.

    Attributes:
        num_keypoints: The K of the operators; the whole networks have the first.
        operators: Number of operators that the spaces need; more than are timed if the plan samples.
        probe: The operator of median work, timed again and again through a run to see the machine's own changes.
        subjects: All models, the probe among them.
    """

    spaces: tuple[str, ...]
    num_keypoints: tuple[int, ...]
    operators: int
    probe: Subject
    subjects: tuple[Subject, ...]

    @property
    def timed(self) -> list[Operator]:
        """The operators that are timed."""
        chains = [subject for subject in self.subjects if isinstance(subject, OperatorChain)]
        return [chain.operator for chain in chains if chain.copies == 1]


def make_plan(
    spaces: Sequence[SearchSpace],
    *,
    num_keypoints: Sequence[int] = (14,),
    networks: int = 10,
    sample: float | None = None,
    known: Collection[Operator] = (),
    seed: int = 0,
) -> ProfilingPlan:
    """Plan a profiling run.

    Args:
        spaces: Search spaces whose operators to time.
        num_keypoints: Numbers of keypoints to time the heads for; the whole networks have the first.
        networks: Random whole networks of each space, over its image sizes in turn, beside its smallest and largest.
        sample: Time only this share of the operators, in [0, 1], a spread-out choice; None for all. With 0 the networks
            alone are timed, as for a validation; the probe is then the only operator.
        known: Operators that are not to be timed, for a table has them.
        seed: Of the random networks.

    Raises:
        InputError: If no operator is left to time.
    """
    needed = set[Operator]().union(*(space_operators(space, k) for space in spaces for k in num_keypoints))
    wanted = needed.difference(known)
    if not wanted:
        raise InputError("the table has every operator already; there is nothing to measure")
    order = sorted(wanted, key=astuple)
    chosen = order if sample is None else spread_out_sample(order, sample)
    by_work = sorted(chosen or order, key=lambda operator: operator.macs)
    probe = OperatorChain(by_work[len(by_work) // 2])
    archs: dict[Arch, None] = {}
    for space in spaces:
        rng, sizes = random.Random(f"{seed}/{space.name}"), space.image_sizes
        drawn = [space.sample(rng).with_image_size(sizes[i % len(sizes)]) for i in range(networks)]
        archs |= dict.fromkeys([space.smallest(), space.largest(), *drawn])
    return ProfilingPlan(
        spaces=tuple(space.name for space in spaces),
        num_keypoints=tuple(num_keypoints),
        operators=len(needed),
        probe=probe,
        subjects=(
            NullModel(),
            *(chain for operator in chosen or [probe.operator] for chain in chains_of(operator)),
            *(WholeNetwork(arch, num_keypoints[0]) for arch in archs),
        ),
    )


def chains_of(operator: Operator) -> list[OperatorChain]:
    """Return the models that time one operator: itself and, where its output has its input's shape, a chain."""
    single = OperatorChain(operator)
    if not operator.residual:
        return [single]
    least, most = CHAIN_COPIES
    return [single, OperatorChain(operator, min(most, max(least, math.ceil(CHAIN_MACS / operator.macs))))]


def spread_out_sample(operators: Collection[Operator], share: float) -> list[Operator]:
    """Choose a share of the operators of each kind, far apart in the logarithms of their shapes; none for a share of 0.

    The smallest and the largest of a kind by multiply-accumulates come first; then always the one farthest from those
    that were chosen, which takes the corners of the shapes' range before its inside (farthest-point design, Gonzalez,
    Clustering to minimize the maximum intercluster distance, 1985). A share above 0 chooses at least
    ``LEAST_OF_A_KIND``, and ``LEAST_OF_A_CLASS`` with each class of convolution, or all there are.
    """
    if share == 0:
        return []
    chosen = []
    for kind in KINDS:
        group = sorted((operator for operator in operators if operator.kind == kind), key=astuple)
        chosen += _choose(group, max(LEAST_OF_A_KIND, math.ceil(share * len(group)))) if group else []
    return chosen


def _choose(operators: Sequence[Operator], count: int) -> list[Operator]:
    logarithms = np.log1p([astuple(operator)[1:] for operator in operators])
    low, high = logarithms.min(axis=0), logarithms.max(axis=0)
    features = (logarithms - low) / np.where(high > low, high - low, 1)
    macs = [operator.macs for operator in operators]
    chosen = list(dict.fromkeys([int(np.argmin(macs)), int(np.argmax(macs))]))

    def choose(among: Sequence[int], most: int) -> None:
        for _ in range(most):
            chosen.append(among[int(distance[among].argmax())])
            np.minimum(distance, distances(chosen[-1]), out=distance)

    def distances(index: int) -> NDArray[np.float64]:
        norms: NDArray[np.float64] = np.linalg.norm(features - features[index], axis=1)
        return norms

    distance = np.min([distances(index) for index in chosen], axis=0)
    choose(list(range(len(operators))), min(count, len(operators)) - len(chosen))
    for class_ in sorted(set().union(*map(convolution_classes, operators))):
        members = [index for index, operator in enumerate(operators) if class_ in convolution_classes(operator)]
        choose(members, min(LEAST_OF_A_CLASS, len(members)) - len({*members} & {*chosen}))
    return [operators[index] for index in sorted(chosen)]


def convolution_classes(operator: Operator) -> set[ConvolutionClass]:
    """Return the kinds and kernels of an operator's convolutions, which the models of a kind tell apart."""
    return {(convolution.kind, convolution.kernel) for convolution in operator.convolutions}
