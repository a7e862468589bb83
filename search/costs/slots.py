"""The operators that a space's networks run, each as a function of a few genes.

Every cost of a network is a sum over its operators, and an operator depends on few choices: a stage's first block on
the resolution, the widths on either side, its kernel and its expansion; and so on. So a cost compiles into one small
array a slot, indexed by those genes.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.genome import GenomeCodec
from supernet.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from supernet.operators import Operator, operators_of
from supernet.space import SearchSpace

PROBE_DEPTH = 2
"""Blocks a stage of the networks that are looked at: the first, and one that stands for all that repeat it."""

BACKBONE_COLOURS = (0, 1, 0, 1, 0, 2, 2, 2)
TAIL_COLOURS = (1, 2, 0, 1, 0, 2, 1, 0)
"""Colours of the widths (stem, four stages, three deconvs): those that one operator of the backbone, or of the tail,
reads together differ, so that networks with one width a colour show every combination of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One place in the network, compared and hashed by identity.

    Attributes:
        genes: Columns of the genes that determine the operator here, the image size first.
        shape: Cardinalities of those genes.
        operators: The operator for every combination of the genes, the last gene fastest.
    """

    genes: tuple[int, ...]
    shape: tuple[int, ...]
    operators: tuple[Operator, ...]

    def arrange(self, values: Iterable[float]) -> NDArray[np.float64]:
        """Return values in the order of the operators as an array of shape ``shape``."""
        return np.array(list(values), np.float64).reshape(self.shape)


SlotTables = Mapping[Slot, NDArray[np.float64]]
"""A quantity of the operators of every slot, each of the slot's shape."""


@dataclass(frozen=True, slots=True)
class NetworkSlots:
    """The slots of a space.

    Attributes:
        stem: Of (image size, stem width).
        first_blocks: Each stage's first block, of (image size, width before, width, kernel, expansion).
        repeats: Each stage's second block, of (image size, width, kernel, expansion); the later ones run the same. None
            where no depth has a second block.
        tail: Fusion deconvs and heads in the order they run, of the image size and the widths they read and write.
    """

    stem: Slot
    first_blocks: tuple[Slot, ...]
    repeats: tuple[Slot | None, ...]
    tail: tuple[Slot, ...]

    def __iter__(self) -> Iterator[Slot]:
        yield self.stem
        yield from self.first_blocks
        yield from (repeat for repeat in self.repeats if repeat is not None)
        yield from self.tail

    def tabulate(self, quantity: Callable[[Operator], float]) -> SlotTables:
        """Return a quantity of every operator of the space."""
        return {slot: slot.arrange(map(quantity, slot.operators)) for slot in self}


@lru_cache(maxsize=8)
def network_slots(space: SearchSpace, num_keypoints: int) -> NetworkSlots:
    """Find the slots of a space; what runs there is read off ``operators_of`` of small networks.

    Args:
        space: The search space.
        num_keypoints: K of the heads.
    """
    codec = GenomeCodec(space)
    size, stem = 0, 1
    widths = (stem, *(stage.width for stage in codec.stages))
    d0, d1, d2 = codec.deconvs
    genes: list[tuple[int, ...]] = [(size, stem)]
    for s, stage in enumerate(codec.stages):
        block = (stage.kernels[0], stage.expansions[0])
        genes += [(size, widths[s], stage.width, *block), (size, stage.width, *block)]
    genes += [
        (size, widths[4], widths[3], d0),
        (size, d0, widths[2], d1),
        (size, d1, widths[1]),
        (size, d1, widths[1], d2),
        (size, d2, widths[0]),
    ]
    slots = _find_slots(codec, genes, num_keypoints)
    firsts, repeats = slots[1:-5:PROBE_DEPTH], slots[2:-5:PROBE_DEPTH]
    return NetworkSlots(
        stem=slots[0],
        first_blocks=tuple(firsts),
        repeats=tuple(
            slot if len(stage.kernels) > 1 else None for slot, stage in zip(repeats, codec.stages, strict=True)
        ),
        tail=tuple(slots[-5:]),
    )


def aligned(table: NDArray[Any], axes: Sequence[int], ndim: int) -> NDArray[Any]:
    """Return a view of a table whose leading axes are the given ones of ``ndim``; its other axes stay last."""
    order, rest = np.argsort(axes).tolist(), table.shape[len(axes) :]
    shape = [1] * ndim
    for axis, length in zip(axes, table.shape, strict=False):
        shape[axis] = length
    return table.transpose(*order, *range(len(axes), table.ndim)).reshape(*shape, *rest)


def _find_slots(codec: GenomeCodec, genes: Sequence[tuple[int, ...]], num_keypoints: int) -> list[Slot]:
    """Return the slot of every operator of the probes, in the order they run, by the genes that determine it."""
    found: list[dict[tuple[int, ...], Operator]] = [{} for _ in genes]
    for indices in _probes(codec):
        for operators, columns, operator in zip(
            found, genes, operators_of(_probe_arch(codec, indices), num_keypoints), strict=True
        ):
            operators[tuple(indices[column] for column in columns)] = operator
    slots = []
    for columns, operators in zip(genes, found, strict=True):
        shape = tuple(len(codec.choices[column]) for column in columns)
        slots.append(Slot(columns, shape, tuple(operators[key] for key in itertools.product(*map(range, shape)))))
    return slots


def _probes(codec: GenomeCodec) -> Iterator[dict[int, int]]:
    """Yield genes, by column, of networks that show every operator of the space: first all blocks, then all tails."""
    backbone = (1, *(stage.width for stage in codec.stages))
    widths = (*backbone, *codec.deconvs)
    kernels = tuple(stage.kernels[0] for stage in codec.stages)
    expansions = tuple(stage.expansions[0] for stage in codec.stages)

    def most(columns: Iterable[int]) -> range:
        return range(max(len(codec.choices[column]) for column in columns))

    def probe(size: int, by_column: Iterable[int], kernel: int, expansion: int) -> dict[int, int]:
        genes = {0: size, **dict(zip(widths, by_column, strict=True))}
        genes |= dict.fromkeys(kernels, kernel) | dict.fromkeys(expansions, expansion)
        return {column: gene % len(codec.choices[column]) for column, gene in genes.items()}

    for size, a, b, kernel, expansion in itertools.product(
        most([0]), most(backbone), most(backbone), most(kernels), most(expansions)
    ):
        yield probe(size, ((a, b, 0)[colour] for colour in BACKBONE_COLOURS), kernel, expansion)
    for size, *colours in itertools.product(most([0]), most(widths), most(widths), most(widths)):
        yield probe(size, (colours[colour] for colour in TAIL_COLOURS), 0, 0)


def _probe_arch(codec: GenomeCodec, genes: Mapping[int, int]) -> Arch:
    """Return the network of a probe; all blocks of a stage are alike."""
    value = {column: codec.choices[column][gene] for column, gene in genes.items()}
    stages = tuple(
        StageArch(
            value[stage.width],
            stride,
            (BlockArch(value[stage.expansions[0]], value[stage.kernels[0]]),) * PROBE_DEPTH,
        )
        for stage, stride in zip(codec.stages, STAGE_STRIDES, strict=True)
    )
    return Arch(value[0], value[1], stages, tuple(value[column] for column in codec.deconvs))
