"""A surrogate of accuracy from the published figures alone: try spaces and devices before anything is trained.

It neither measures nor predicts what a supernet will reach: it is a smooth function through what the LitePose authors
published, monotone in every choice up to kernel 7, whose slopes between these points are chosen, not fitted.

AP = exp(f(size) + blocks). The size adds up logarithms of the resolution and of all widths; f runs monotonely through
the log AP of the four published networks. Every block of the published depths adds its worth less what it loses by its
kernel (the published ablation) and its expansion, relative to a published network, all of whose blocks are there with
kernel 7 and expansion 6: for these ``blocks`` is 0.

Source: Wang et al., Lite Pose (arXiv:2205.01271), results and kernel ablation.
Legend: n genomes, G genes.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from litepose_ofa.search.accuracy.evaluators import AccuracyModel, Source
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import FULL_DEPTHS, KERNEL_ABLATION_AP, PUBLISHED_AP, published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import require

NUM_KEYPOINTS: Mapping[str, int] = {"crowdpose": 14, "coco": 17}

RESOLUTION_SLOPE = 0.25
"""Increase of the size by a doubling of the resolution. Chosen, as the slopes below: they say what one dimension is
worth beside another, and f what all of them together are worth."""

STEM_SLOPE = 0.01
STAGE_SLOPES = (0.015, 0.02, 0.025, 0.03)
DECONV_SLOPES = (0.01, 0.01, 0.01)

SIZE_SLOPES = (RESOLUTION_SLOPE, STEM_SLOPE, *STAGE_SLOPES, *DECONV_SLOPES)

BLOCK_DECAY = 0.9
"""Weight of a block beside that of the one before it in its stage: later blocks add less."""

EXPANSION_LOSS = 0.03
"""Loss of log AP where the expansion of all blocks is halved."""

SPARE_WORTH = 0.05
"""Gain of log AP by all blocks beyond the most that kernels and expansions may lose: a block never does harm."""

LEVELLING = 0.1
"""Size above the largest published network over which f levels off."""

FULL_KERNEL, FULL_EXPANSION = 7, 6

Floats = NDArray[np.float64]


class PublishedSurrogate(AccuracyModel):
    """AP of any genome of a space by the published figures for a dataset, ``crowdpose`` or ``coco``.

    Example:
        >>> surrogate = PublishedSurrogate(SearchSpace.preset("litepose_released"))
        >>> genomes = GenomeCodec(surrogate.space).encode_many([published_archs()["search-XS"]])
        >>> surrogate.predict_ap(genomes).round(3).tolist()
        [0.495]
    """

    def __init__(self, space: SearchSpace, *, dataset: str = "crowdpose") -> None:
        known = ", ".join(PUBLISHED_AP)
        require(dataset in PUBLISHED_AP, "the published surrogate's dataset", dataset, f"one of {known}")
        self.source: Source = "published-surrogate"
        self.space = space
        self.num_keypoints = NUM_KEYPOINTS[dataset]
        self.identity: dict[str, Any] = {"surrogate": "published", "dataset": dataset}
        self.codec = GenomeCodec(space)
        self._sizes = _size_tables(self.codec)
        self._blocks = _block_tables(self.codec)
        self._log_ap = _LogAccuracy(dataset)

    def predict(self, genomes: Genomes) -> tuple[Floats, Floats]:
        """Return the AP of canonical genomes, shape (n, G), and zeros for its deviation, each of shape (n,)."""
        return self.predict_ap(genomes), np.zeros(len(genomes))

    def predict_ap(self, genomes: Genomes) -> Floats:
        """Return the AP in [0, 1] of canonical genomes, shape (n, G), shape (n,)."""
        columns = np.ascontiguousarray(genomes.T)
        size, blocks = (
            sum((table[columns[column]] for column, table in tables.items()), np.zeros(len(genomes)))
            for tables in (self._sizes, self._blocks)
        )
        return np.minimum(np.exp(self._log_ap(size) + blocks), 1)

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the space and of every value that predictions depend on."""
        hasher = hashlib.sha256(json.dumps([self.space.to_dict(), self.identity], sort_keys=True).encode())
        for tables in (self._sizes, self._blocks):
            for column, table in tables.items():
                hasher.update(f"{column}".encode() + table.tobytes())
        hasher.update(np.array([*self._log_ap.sizes, *self._log_ap.values, LEVELLING]).tobytes())
        return hasher.hexdigest()[:12]


class _LogAccuracy:
    """f: log AP by size, through the published networks; below them it goes on straight, above it levels off."""

    def __init__(self, dataset: str) -> None:
        archs = published_archs()
        points = sorted((_size(archs[name]), math.log(ap)) for name, ap in PUBLISHED_AP[dataset].items())
        self.sizes, self.values = (np.array(column) for column in zip(*points, strict=True))
        self._curve = PchipInterpolator(self.sizes, self.values)
        slopes = np.diff(self.values) / np.diff(self.sizes)
        self._first_slope, self._last_slope = float(slopes[0]), float(slopes[-1])

    def __call__(self, size: Floats) -> Floats:
        below, above = np.minimum(size - self.sizes[0], 0), np.maximum(size - self.sizes[-1], 0)
        inside = self._curve(np.clip(size, self.sizes[0], self.sizes[-1]))
        levelled = -LEVELLING * np.expm1(-above / LEVELLING)
        return np.asarray(inside + self._first_slope * below + self._last_slope * levelled)


def _size(arch: Arch) -> float:
    widths = (arch.image_size, arch.stem_channels, *(stage.channels for stage in arch.stages), *arch.deconv_channels)
    return sum(slope * math.log2(width) for slope, width in zip(SIZE_SLOPES, widths, strict=True))


def _size_tables(codec: GenomeCodec) -> dict[int, Floats]:
    """Return by column what each choice adds to the size."""
    columns = (0, 1, *(genes.width for genes in codec.stages), *codec.deconvs)
    return {
        column: slope * np.log2(np.array(codec.choices[column], np.float64))
        for column, slope in zip(columns, SIZE_SLOPES, strict=True)
    }


def _block_tables(codec: GenomeCodec) -> dict[int, Floats]:
    """Return by column what each choice adds to ``blocks``.

    A dropped block has its smallest kernel and expansion in a canonical genome: the depth takes back what these add.
    """
    full = sum(_block_weights(depth).sum() for depth in FULL_DEPTHS)
    most_loss = _kernel_loss([min(KERNEL_ABLATION_AP)])[0] + _expansion_loss([1])[0]
    worth = most_loss + SPARE_WORTH
    tables: dict[int, Floats] = {0: np.full(len(codec.choices[0]), -worth)}
    for genes in codec.stages:
        weights = _block_weights(len(genes.kernels)) / full
        smallest = np.zeros(len(weights))
        for block, columns in enumerate(zip(genes.kernels, genes.expansions, strict=True)):
            kernels, expansions = (codec.choices[column] for column in columns)
            tables[columns[0]] = weights[block] * (worth - _kernel_loss(kernels))
            tables[columns[1]] = -weights[block] * _expansion_loss(expansions)
            smallest[block] = tables[columns[0]][0] + tables[columns[1]][0]
        tables[genes.depth] = np.array([-smallest[depth:].sum() for depth in codec.choices[genes.depth]])
    return tables


def _block_weights(depth: int) -> Floats:
    return np.power(BLOCK_DECAY, np.arange(depth, dtype=np.float64))


def _kernel_loss(kernels: Sequence[int]) -> Floats:
    """Return what kernels take from log AP if all blocks have them; beyond the ablation's they lose as its ends do."""
    known = sorted(KERNEL_ABLATION_AP)
    losses = [math.log(KERNEL_ABLATION_AP[FULL_KERNEL] / KERNEL_ABLATION_AP[kernel]) for kernel in known]
    return np.interp(np.asarray(kernels, np.float64), known, losses)


def _expansion_loss(expansions: Sequence[int]) -> Floats:
    return np.multiply(EXPANSION_LOSS, np.log2(FULL_EXPANSION / np.array(expansions, np.float64)))
