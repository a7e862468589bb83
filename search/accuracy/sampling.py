"""Genomes that a search or a predictor starts from, and measured accuracies on disk.

Legend: n genomes, G genes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.regressors import TrainingSet
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import MOST_CHOICES, GenomeCodec, Genomes, distinct
from litepose_ofa.supernet.archs.arch import MOST_KEYPOINTS, Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.files import read_json, write_json
from litepose_ofa.supernet.validation import Checked, Fraction, Whole, validate

POOL_BITS = 13
UNIFORM_SHARES = (0.0, 1.0, 0.5, 0.25, 0.75)
FIRST_SHARES = (0.0, 1.0, 0.25, 0.5, 0.75)
"""Relative sizes of the uniform networks, of the samples and of a search's first generation."""


def stratified_genomes(cost: CostModel, n: int, rng: np.random.Generator, *, spread_over: str = "macs") -> Genomes:
    """Choose n distinct genomes, fewer if the space has fewer, evenly spread over the logarithm of a cost.

    First come the smallest, the largest and other uniform ones; then, cost by cost, the nearest of a large pool. The
    costs follow the van der Corput sequence, so that the first genomes stay the same when more are asked for. The cost
    is one of ``CostModel.evaluate``: ``macs``, ``params`` or ``latency_ms/<device>``.
    """
    fixed = uniform_genomes(cost.codec, UNIFORM_SHARES)
    pool = distinct(spread_pool(cost.codec, 2**POOL_BITS, rng), seen=fixed)
    costs = np.log(cost.evaluate(pool)[spread_over])
    order = np.argsort(costs, kind="stable")
    rows = _spread_rows(costs[order], min(len(pool), max(n - len(fixed), 0)))
    return distinct(np.concatenate([fixed, pool[order][rows]]))[:n]


def first_genomes(codec: GenomeCodec, n: int, rng: np.random.Generator, *, warm: Sequence[Arch] = ()) -> Genomes:
    """Return n distinct genomes to start from, fewer if the space has fewer, shape (n, G).

    In order: the smallest and the largest architecture, the ``warm`` ones, such as those of an earlier search, the
    published ones, uniform ones, which make every choice at the same relative size, and random ones. Architectures of
    other spaces are left out.
    """
    uniform = uniform_genomes(codec, FIRST_SHARES)
    known = codec.encode_many(arch for arch in (*warm, *published_archs().values()) if codec.space.contains(arch))
    return distinct(np.concatenate([uniform[:2], known, uniform[2:], codec.sample(2 * n, rng)]))[:n]


def uniform_genomes(codec: GenomeCodec, shares: Iterable[float]) -> Genomes:
    """Return networks that make every choice at the same relative size, 0 the smallest and 1 the largest."""
    sizes = np.array(list(shares))[:, None]
    return distinct(codec.canonicalise(np.round(sizes * (codec.cardinalities - 1)).astype(np.int8)))


def spread_pool(codec: GenomeCodec, n: int, rng: np.random.Generator) -> Genomes:
    """Draw n genomes of all sizes.

    Half is uniform over the space, whose networks are nearly all of middling size; in the other half a network has a
    level, and its choices are drawn around it.
    """
    levels = rng.random((n - n // 2, 1))
    drawn = rng.binomial(codec.cardinalities - 1, np.broadcast_to(levels, (len(levels), codec.length)))
    return np.concatenate([codec.sample(n // 2, rng), codec.canonicalise(drawn.astype(np.int8))])


def _spread_rows(costs: NDArray[np.float64], n: int) -> list[int]:
    """Return n rows of ascending costs, each the nearest to its place that is not taken."""
    free = np.ones(len(costs), np.bool_)
    rows = []
    for k in range(1, n + 1):
        share = int(f"{k % 2**POOL_BITS:0{POOL_BITS}b}"[::-1], 2) / 2**POOL_BITS
        place = costs[0] + share * (costs[-1] - costs[0])
        row = int(np.argmin(np.where(free, np.abs(costs - place), np.inf)))
        free[row] = False
        rows.append(row)
    return rows


class _Sample(Checked):
    genome: list[Annotated[int, Field(ge=0, le=MOST_CHOICES)]]
    ap: Fraction


class _Samples(Checked):
    space: dict[str, Any]
    num_keypoints: Annotated[int, Field(ge=1, le=MOST_KEYPOINTS)]
    identity: dict[str, Any]
    samples: list[_Sample]
    num_proposed: Whole = 0


@dataclass(frozen=True)
class AccuracySamples:
    """Measured subnets: what a predictor is fitted to.

    Attributes:
        identity: What the accuracies were measured on.
        genomes: Distinct canonical genomes, shape (n, G).
        ap: Their AP in [0, 1], shape (n,).
        num_proposed: How many of them, the last, a model asked for; the others were drawn without one.
    """

    space: SearchSpace
    num_keypoints: int
    identity: Mapping[str, Any]
    genomes: Genomes
    ap: NDArray[np.float64]
    num_proposed: int = 0

    @property
    def training_set(self) -> TrainingSet:
        """What regressors are fitted to."""
        return GenomeFeatures(self.space, num_keypoints=self.num_keypoints).training_set(self.genomes, self.ap)

    @property
    def is_drawn(self) -> NDArray[np.bool_]:
        """Which samples were drawn without a model, shape (n,)."""
        return np.arange(len(self.ap)) < len(self.ap) - self.num_proposed

    def save(self, path: Path | str) -> None:
        """Write the samples as JSON."""
        samples = [
            {"genome": genome, "ap": ap} for genome, ap in zip(self.genomes.tolist(), self.ap.tolist(), strict=True)
        ]
        head = {"space": self.space.to_dict(), "num_keypoints": self.num_keypoints, "identity": dict(self.identity)}
        write_json(path, {**head, "num_proposed": self.num_proposed, "samples": samples})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote; ``InputError`` if it is missing, damaged, or has a genome of another space."""
        read = validate(_Samples, read_json(path), f"{path}: is not a file of measured subnets")
        with located(path):
            space = SearchSpace.from_dict(read.space)
            codec = GenomeCodec(space)
        ap = np.array([sample.ap for sample in read.samples], np.float64)
        whole = all(len(sample.genome) == codec.length for sample in read.samples)
        genomes = np.array([sample.genome for sample in read.samples] if whole else [], np.int8).reshape(
            -1, codec.length
        )
        if not (whole and codec.is_valid(genomes).all()):
            raise InputError(f"{path}: a genome is not of the space {space.name!r}")
        require(read.num_proposed <= len(ap), f"{path}: num_proposed", read.num_proposed, f"at most {len(ap)}")
        return cls(space, read.num_keypoints, read.identity, genomes, ap, read.num_proposed)
