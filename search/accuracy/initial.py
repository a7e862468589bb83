"""What a search starts from: the ends of the space, uniform and published networks, and an earlier search's front.

Legend: n genomes, G genes.
"""

from collections.abc import Sequence

import numpy as np

from litepose_ofa.search.genome import GenomeCodec, Genomes, distinct
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs

UNIFORM_SIZES = (0.0, 1.0, 0.25, 0.5, 0.75)
"""Relative sizes of the uniform networks: the smallest and the largest of the space come first."""


def first_genomes(codec: GenomeCodec, n: int, rng: np.random.Generator, *, warm: Sequence[Arch] = ()) -> Genomes:
    """Return n distinct genomes to start from, fewer if the space has fewer, shape (n, G).

    In order: the smallest and the largest architecture, those of an earlier search, the published ones of the space,
    uniform ones, which make every choice at the same relative size, and random ones.

    Args:
        codec: The codec of the space.
        n: Greatest number.
        rng: Draws the random ones.
        warm: Architectures to start from beside the usual; those of other spaces are left out.
    """
    shares = np.array(UNIFORM_SIZES)[:, None]
    uniform = codec.canonicalise(np.round(shares * (codec.cardinalities - 1)).astype(np.int8))
    known = codec.encode_many(arch for arch in (*warm, *published_archs().values()) if codec.space.contains(arch))
    return distinct(np.concatenate([uniform[:2], known, uniform[2:], codec.sample(2 * n, rng)]))[:n]
