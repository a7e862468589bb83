"""Architectures as Optuna trials: few parameters that mean something, the whole genome as an attribute."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from search.evaluators import Accuracy
from search.genome import Genomes
from search.problem import History
from supernet.arch import Arch
from supernet.space import SearchSpace

CONSTRAINT = "latency_over_budget_ms"


def trial_params(arch: Arch) -> dict[str, int | float]:
    """Return what a trial shows of an architecture: a parameter a stage and choice, not one a block.

    An Optuna storage writes every parameter of every trial, and an importance plot of 80 of them tells nothing.
    """
    params: dict[str, int | float] = {"resolution": arch.image_size, "stem": arch.stem_channels}
    for s, stage in enumerate(arch.stages):
        depth = len(stage.blocks)
        params[f"stage{s}.width"] = stage.channels
        params[f"stage{s}.depth"] = depth
        params[f"stage{s}.mean_kernel"] = sum(block.kernel for block in stage.blocks) / depth
        params[f"stage{s}.mean_expansion"] = sum(block.expansion for block in stage.blocks) / depth
    return params | {f"deconv{i}": width for i, width in enumerate(arch.deconv_channels)}


def trial_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the range of every parameter: from the space's smallest to its largest architecture."""
    low, high = trial_params(space.smallest()), trial_params(space.largest())
    return {name: _distribution(low[name], high[name]) for name in low}


def finished_trial(
    arch: Arch,
    genome: Genomes,
    accuracy: Accuracy,
    *,
    latency_ms: float,
    budget_ms: float,
    generation: int,
    distributions: Mapping[str, BaseDistribution],
) -> FrozenTrial:
    """Return an evaluated architecture as a complete trial with the values (AP, latency in ms)."""
    return create_trial(
        values=[accuracy.ap, latency_ms],
        params=trial_params(arch),
        distributions=dict(distributions),
        constraints={CONSTRAINT: latency_ms - budget_ms},
        user_attrs={
            "generation": generation,
            "genome": genome.tolist(),
            "arch_digest": arch.digest,
            "ap_source": accuracy.source,
            "ap_std": accuracy.std,
        },
    )


def history_of(trials: Sequence[FrozenTrial], num_genes: int) -> History:
    """Return the evaluations that trials, in the order of their numbers, record.

    Args:
        trials: Trials that ``finished_trial`` made.
        num_genes: G.
    """
    values = np.array([trial.values for trial in trials], np.float64).reshape(-1, 2)
    genomes = np.array([genome_of(trial) for trial in trials], np.int8).reshape(-1, num_genes)
    std = np.array([trial.user_attrs["ap_std"] for trial in trials], np.float64)
    return History(genomes, values[:, 0].copy(), std, values[:, 1].copy())


def genome_of(trial: FrozenTrial) -> list[int]:
    """Return the genome of a trial."""
    genome: list[int] = trial.user_attrs["genome"]
    return genome


def generation_of(trial: FrozenTrial) -> int:
    """Return the generation that a trial belongs to."""
    generation: Any = trial.user_attrs["generation"]
    return int(generation)


def _distribution(low: int | float, high: int | float) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high)
    return FloatDistribution(low, high)
