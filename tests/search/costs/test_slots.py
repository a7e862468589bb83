"""Slots: every network runs what its genes say."""

from collections.abc import Sequence

import numpy as np
import pytest

from litepose_ofa.search.costs.slots import NetworkSlots, Slot, network_slots
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace

NUM_KEYPOINTS = 17


def operator_at(slot: Slot, indices: Sequence[int]) -> Operator:
    return slot.operators[int(np.ravel_multi_index(tuple(indices), slot.shape))]


def operators_by_slots(found: NetworkSlots, codec: GenomeCodec, genome: Genomes, arch: Arch) -> list[Operator]:
    """What a network runs, looked up slot by slot."""
    genes = genome.tolist()

    def at(slot: Slot) -> Operator:
        return operator_at(slot, [genes[column] for column in slot.genes])

    operators = [at(found.stem)]
    for stage, first, repeat, part in zip(codec.stages, found.first_blocks, found.repeats, arch.stages, strict=True):
        operators.append(at(first))
        for kernel, expansion in list(zip(stage.kernels, stage.expansions, strict=True))[1 : len(part.blocks)]:
            assert repeat is not None
            operators.append(operator_at(repeat, [genes[c] for c in (0, stage.width, kernel, expansion)]))
    return operators + [at(slot) for slot in found.tail]


@pytest.mark.parametrize("name", [*PRESETS, "small"])
def test_networks_run_what_the_slots_say(name: str, small_space: SearchSpace) -> None:
    space = PRESETS.get(name, small_space)
    found, codec = network_slots.__wrapped__(space, NUM_KEYPOINTS), GenomeCodec(space)
    genomes = codec.sample(40, np.random.default_rng(0))
    for genome, arch in zip(genomes, codec.decode_many(genomes), strict=True):
        assert operators_by_slots(found, codec, genome, arch) == operators_of(arch, NUM_KEYPOINTS)
