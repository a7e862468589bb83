"""Features of a network for the accuracy predictor: numbers that say how large it is, and where.

Legend: n genomes, G genes, P features, B weightings.
"""

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.regressors import TrainingSet
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.supernet.archs.space import SearchSpace

BLOCK_GENE_WEIGHT = 0.3
"""Weight of a single block's kernel or expansion: there are many of them, and each matters little."""

CHOICE_WEIGHTS = (0.8, 1.5)
"""Weights of a choice by itself, relative to that of its gene's size: less where an AP follows the order of sizes, as
most do, more where it does not."""


class GenomeFeatures:
    """Features of genomes, in order: the logarithms of image size, widths and depths; the mean kernel and the mean
    expansion of each stage; the logarithms of MACs and parameters; every block's kernel and expansion, zero if dropped;
    and of the genes with more than two choices, for each whether it is taken, without which an AP that does not follow
    the order of sizes could hardly be learned. Of a block's genes, which are many, the ends are left out: its sizes
    tell them apart.

    Attributes:
        length: P.
        weights: How much each feature counts in a distance after it is standardised, shape (B, P): for each of
            ``CHOICE_WEIGHTS`` a row.
    """

    def __init__(self, space: SearchSpace, *, num_keypoints: int = 14) -> None:
        self._cost = CostModel(space, num_keypoints=num_keypoints)
        codec = self.codec = self._cost.codec
        self._is_block = np.array([".block" in name for name in codec.names])
        self._values = np.zeros((int(codec.cardinalities.max()), codec.length))
        for column, choices in enumerate(codec.choices):
            scaled = np.array(choices) / choices[-1] if self._is_block[column] else np.log(choices)
            self._values[: len(choices), column] = scaled
        lists = [columns for stage in codec.stages for columns in (stage.kernels, stage.expansions)]
        self._membership = np.array([[column in columns for columns in lists] for column in range(codec.length)], float)
        singled_out = [
            (gene, choice)
            for gene, number in enumerate(codec.cardinalities.tolist())
            if number > 2
            for choice in (range(1, number - 1) if self._is_block[gene] else range(number))
        ]
        self._genes, self._choices = np.array(singled_out, np.intp).reshape(-1, 2).T
        gene_weights = np.where(self._is_block, BLOCK_GENE_WEIGHT, 1.0)
        totals = int((~self._is_block).sum()) + len(lists) + 2
        sizes = np.concatenate([np.ones(totals), gene_weights[self._is_block]])
        singles = gene_weights[self._genes]
        self.weights = np.array([[*sizes, *(weight * singles)] for weight in CHOICE_WEIGHTS])
        self.length = self.weights.shape[1]

    def __call__(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the features of canonical genomes, shape (n, G), as (n, P)."""
        present = self.codec.present(genomes)
        values = self._values[genomes, np.arange(self.codec.length)] * present
        means = (values @ self._membership) / (present @ self._membership)
        costs = self._cost.evaluate(genomes)
        sizes = np.log(np.stack([costs["macs"], costs["params"]], axis=1))
        taken = genomes[:, self._genes] == self._choices  # never the 0 of a dropped block
        return np.concatenate([values[:, ~self._is_block], means, sizes, values[:, self._is_block], taken], axis=1)

    def training_set(self, genomes: Genomes, ap: NDArray[np.float64]) -> TrainingSet:
        """Return what regressors are fitted to, of canonical genomes (m, G) and their AP (m,)."""
        return TrainingSet(self(genomes), ap, self.weights)
