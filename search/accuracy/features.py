"""Features of a network for the accuracy predictor: numbers that say how large it is, and where.

Legend: n genomes, G genes, P features.
"""

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.supernet.archs.space import SearchSpace

BLOCK_GENE_WEIGHT = 0.3
"""Weight of a single block's kernel or expansion: there are many of them, and each matters little."""


class GenomeFeatures:
    """Features of genomes, in order: the logarithms of image size, widths and depths; the mean kernel and the mean
    expansion of each stage; the logarithms of MACs and parameters; every block's kernel and expansion, zero if dropped.

    Args:
        space: The search space.
        num_keypoints: K of the heads, which count in MACs and parameters.

    Attributes:
        length: P.
        weights: How much each feature counts in a distance after it is standardised, shape (P,).
    """

    def __init__(self, space: SearchSpace, *, num_keypoints: int = 14) -> None:
        self._cost = CostModel(space, num_keypoints=num_keypoints)
        codec = self.codec = self._cost.codec
        block_genes = [column for stage in codec.stages for column in (*stage.kernels, *stage.expansions)]
        self._is_block = np.zeros(codec.length, np.bool_)
        self._is_block[block_genes] = True
        self._values = np.zeros((int(codec.cardinalities.max()), codec.length))
        for column, choices in enumerate(codec.choices):
            scaled = np.array(choices) / choices[-1] if self._is_block[column] else np.log(choices)
            self._values[: len(choices), column] = scaled
        lists = [columns for stage in codec.stages for columns in (stage.kernels, stage.expansions)]
        self._membership = np.zeros((codec.length, len(lists)))
        for index, columns in enumerate(lists):
            self._membership[list(columns), index] = 1
        totals = int(np.count_nonzero(~self._is_block)) + len(lists) + 2
        self.weights = np.concatenate([np.ones(totals), np.full(len(block_genes), BLOCK_GENE_WEIGHT)])
        self.length = len(self.weights)

    def __call__(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the features of canonical genomes, shape (n, G), as (n, P)."""
        values = self._values[genomes, np.arange(self.codec.length)]
        present = self.codec.present(genomes)
        values *= present
        means = (values @ self._membership) / (present @ self._membership)
        costs = self._cost.evaluate(genomes)
        sizes = np.log(np.stack([costs["macs"], costs["params"]], axis=1))
        return np.concatenate([values[:, ~self._is_block], means, sizes, values[:, self._is_block]], axis=1)
