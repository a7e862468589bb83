"""Which subnets to measure for the predictor, and their measured accuracies on disk.

Legend: n genomes, G genes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from search.cost import CostModel
from search.genome import GenomeCodec, Genomes, distinct
from supernet.errors import InputError
from supernet.files import read_json, write_json
from supernet.space import SearchSpace

POOL_BITS = 13


def stratified_genomes(cost: CostModel, n: int, rng: np.random.Generator) -> Genomes:
    """Choose genomes spread over the space and over MACs: the smallest, the largest, and ranks by MACs of a large pool.

    Half of the pool is uniform over the space, whose networks are nearly all of middling size; in the other half a
    network has a level, and its choices are drawn around it. Ranks follow the van der Corput sequence, so that the
    first genomes stay the same when more are asked for.

    Args:
        cost: Cost model of the space.
        n: Number of genomes; fewer are returned if the space has fewer.
        rng: Source of randomness.

    Returns:
        Distinct canonical genomes, shape (n, G).
    """
    codec, size = cost.codec, 2**POOL_BITS
    levels = rng.random((size // 2, 1))
    drawn = rng.binomial(codec.cardinalities - 1, np.broadcast_to(levels, (size // 2, codec.length)))
    pool = distinct(np.concatenate([codec.sample(size // 2, rng), codec.canonicalise(drawn.astype(np.int8))]))
    pool = pool[np.argsort(cost.evaluate(pool)["macs"], kind="stable")]
    ranks = [int(f"{k:0{POOL_BITS}b}"[::-1], 2) * len(pool) // size for k in range(size)]
    extremes = codec.encode_many([codec.space.smallest(), codec.space.largest()])
    return distinct(np.concatenate([extremes, pool[ranks]]))[:n]


@dataclass(frozen=True)
class AccuracySamples:
    """Measured subnets: what a predictor is fitted to.

    Attributes:
        space: The search space.
        num_keypoints: K of the networks.
        identity: What the accuracies were measured on.
        genomes: Distinct canonical genomes, shape (n, G).
        ap: Their AP in [0, 1], shape (n,).
    """

    space: SearchSpace
    num_keypoints: int
    identity: Mapping[str, Any]
    genomes: Genomes
    ap: NDArray[np.float64]

    def save(self, path: Path | str) -> None:
        """Write the samples as JSON."""
        samples = [
            {"genome": genome, "ap": ap} for genome, ap in zip(self.genomes.tolist(), self.ap.tolist(), strict=True)
        ]
        head = {"space": self.space.to_dict(), "num_keypoints": self.num_keypoints, "identity": dict(self.identity)}
        write_json(path, {**head, "samples": samples})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is missing, no such file, or holds a genome that is not of its space.
        """
        value = read_json(path)
        try:
            space = SearchSpace.from_dict(value["space"])
            length = GenomeCodec(space).length
            genomes = np.array([sample["genome"] for sample in value["samples"]]).reshape(-1, length)
            ap = np.array([sample["ap"] for sample in value["samples"]], np.float64)
            num_keypoints, identity = int(value["num_keypoints"]), dict(value["identity"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is no file of measured subnets ({error})") from None
        if not GenomeCodec(space).is_valid(genomes).all():
            raise InputError(f"{path}: a genome is not of the space {space.name!r}")
        return cls(space, num_keypoints, identity, genomes.astype(np.int8), ap)
