"""Subnets of nearly equal MACs and shapes as different as possible.

Among them size tells nothing, so a ranking shows what is known beyond size.

Legend: n genomes, P pool, G genes, F coordinates.
"""

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import GenomeCodec, Genomes, distinct
from litepose_ofa.supernet.errors import InputError, require

POOL_SIZE = 2**16

Coordinates = NDArray[np.float64]
"""Places of genomes, shape (n, F)."""


def equal_macs_genomes(
    cost: CostModel, n: int, rng: np.random.Generator, *, tolerance: float = 0.05, target: float | None = None
) -> Genomes:
    """Choose n distinct genomes of nearly equal MACs that differ in resolution, width, depth, kernel and expansion.

    From a pool in which each of the five kinds of choice has a level of its own (high resolution with small kernels,
    deep with narrow), those of about the target's MACs are kept; of these, each next choice is the one farthest from
    all before it. The first genomes stay the same when more are asked for.

    Source of the selection: Gonzalez, Clustering to minimize the maximum intercluster distance (1985).

    Args:
        cost: Cost model of the space.
        n: Number of genomes.
        rng: Draws the pool.
        tolerance: Width of the window of MACs relative to the target: 0.05 allows 2.5 % on either side.
        target: MACs; by default the geometric mean of those of the smallest and the largest network.

    Raises:
        InputError: If the pool holds fewer such genomes; the message says how many and the MACs of the space.
    """
    require(n >= 1, "the number of subnets of equal MACs", n, "1 or more")
    require(0 < tolerance < 2, "tolerance", tolerance, "above 0 and below 2")
    codec = cost.codec
    least, most = cost.evaluate(codec.encode_many([codec.space.smallest(), codec.space.largest()]))["macs"].tolist()
    target = (least * most) ** 0.5 if target is None else target
    pool = _draw_pool(codec, rng)
    pool = pool[np.abs(cost.evaluate(pool)["macs"] - target) <= tolerance / 2 * target]
    if len(pool) < n:
        raise InputError(
            f"space {codec.space.name!r}: found {len(pool)} networks within {50 * tolerance:g} % of "
            f"{target / 1e6:.4g} MMACs, not {n}; it has {least / 1e6:.4g} to {most / 1e6:.4g} MMACs: ask for fewer "
            "subnets, widen the tolerance or move the target"
        )
    return pool[_farthest_first(shape_coordinates(codec, pool), n)]


def shape_coordinates(codec: GenomeCodec, genomes: Genomes) -> Coordinates:
    """Place canonical genomes, shape (n, G), so that distance says how differently they are shaped, shape (n, F).

    Coordinates in order: resolution; widths of stem, stages and deconvs; depth, mean kernel and mean expansion of
    each stage. A gene counts by its index scaled to [0, 1]; each of the five kinds adds at most 1 to a squared
    distance.
    """
    share = genomes / np.maximum(codec.cardinalities - 1, 1)
    present = codec.present(genomes)

    def means(blocks: list[tuple[int, ...]]) -> Coordinates:
        return np.stack([share[:, genes].mean(axis=1, where=present[:, genes]) for genes in map(list, blocks)], axis=1)

    kinds = (
        share[:, [0]],
        share[:, [1, *(stage.width for stage in codec.stages), *codec.deconvs]],
        share[:, [stage.depth for stage in codec.stages]],
        means([stage.kernels for stage in codec.stages]),
        means([stage.expansions for stage in codec.stages]),
    )
    return np.concatenate([kind / kind.shape[1] ** 0.5 for kind in kinds], axis=1)


def _draw_pool(codec: GenomeCodec, rng: np.random.Generator) -> Genomes:
    named = {"image_size": 0, "depth": 2, "kernel": 3, "expansion": 4}
    kinds = np.array([named.get(name.rsplit(".")[-1], 1) for name in codec.names])  # all others are widths
    levels = rng.random((POOL_SIZE, kinds.max() + 1))[:, kinds]
    return distinct(codec.canonicalise(rng.binomial(codec.cardinalities - 1, levels).astype(np.int8)))


def _farthest_first(places: Coordinates, n: int) -> list[int]:
    """Return n rows: the one farthest from the mean, then each time the one farthest from all before it."""
    distances = np.square(places - places.mean(axis=0)).sum(axis=1)
    chosen = [int(distances.argmax())]
    distances = np.full(len(places), np.inf)
    while len(chosen) < n:
        distances = np.minimum(distances, np.square(places - places[chosen[-1]]).sum(axis=1))
        chosen.append(int(distances.argmax()))
    return chosen
