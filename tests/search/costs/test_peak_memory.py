"""Peak activation memory against the walk over each network."""

import numpy as np

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace


def test_every_operator_can_be_the_peak() -> None:
    """Widths so far apart that the peak lies in the stem, in each stage, in each deconv and in each head in turn."""
    wide = (8, 256)
    stages = [StageSpace(wide, (1, 2), (3,), (1, 2)) for _ in range(3)]
    stages.append(StageSpace((8, 256, 8192), (1, 2), (3,), (1, 2)))
    space = SearchSpace("uneven", (32,), wide, tuple(stages), ((8, 256, 2048), wide, wide))
    cost = CostModel(space)
    genomes = cost.codec.random_genes(3000, np.random.default_rng(0))
    expected = [measure_complexity(arch).peak_activation_bytes for arch in cost.codec.decode_many(genomes)]
    assert cost.peak_memory_bytes(genomes).tolist() == expected
