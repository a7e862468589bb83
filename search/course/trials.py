"""Architectures as Optuna trials: few parameters that mean something, the whole genome as an attribute.

Legend: n trials, G genes, D devices.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from search.accuracy.evaluators import Accuracy
from search.course.history import History
from search.genome import Genomes
from search.problem import SearchProblem
from supernet.arch import Arch
from supernet.space import SearchSpace

VIOLATION = "violation"
"""Name of a trial's constraint: 0 where it keeps all constraints of the problem."""

Distributions = Mapping[str, BaseDistribution]


def value_names(problem: SearchProblem) -> list[str]:
    """Return the names of a trial's values: AP, and the latency on each device."""
    return ["AP", *problem.objective_names[1:]]


def trial_params(arch: Arch) -> dict[str, int | float]:
    """Return what a trial shows of an architecture: a parameter a stage and choice at most, never one a block.

    An Optuna storage writes every parameter of every trial, and an importance plot of 80 of them tells nothing.
    """
    params: dict[str, int | float] = {"resolution": arch.image_size, "stem": arch.stem_channels}
    for s, stage in enumerate(arch.stages):
        params[f"stage{s}.width"] = stage.channels
        params[f"stage{s}.depth"] = len(stage.blocks)
    blocks = [block for stage in arch.stages for block in stage.blocks]
    params["mean_kernel"] = sum(block.kernel for block in blocks) / len(blocks)
    params["mean_expansion"] = sum(block.expansion for block in blocks) / len(blocks)
    return params | {f"deconv{i}": width for i, width in enumerate(arch.deconv_channels)}


def trial_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the range of every parameter: from the space's smallest to its largest architecture.

    A mean over the blocks has that of the choices: stages differ in them, so that a network of other depths can have a
    smaller mean than the smallest network.
    """
    low, high = trial_params(space.smallest()), trial_params(space.largest())
    for name, choices in (
        ("mean_kernel", [stage.kernels for stage in space.stages]),
        ("mean_expansion", [stage.expansions for stage in space.stages]),
    ):
        low[name], high[name] = float(min(map(min, choices))), float(max(map(max, choices)))
    return {name: _distribution(low[name], high[name]) for name in low}


def finished_trials(
    problem: SearchProblem,
    evaluated: History,
    archs: Sequence[Arch],
    accuracies: Sequence[Accuracy],
    *,
    generation: int,
    distributions: Distributions,
) -> list[FrozenTrial]:
    """Return evaluated architectures as complete trials.

    Args:
        problem: What is searched.
        evaluated: The evaluations.
        archs: Their architectures.
        accuracies: Their accuracies.
        generation: Number of their generation.
        distributions: From ``trial_distributions``.
    """
    violations = problem.combined(evaluated.excess).tolist()
    return [
        create_trial(
            values=[accuracy.ap, *latencies],
            params=trial_params(arch),
            distributions=dict(distributions),
            constraints={VIOLATION: violation},
            user_attrs={
                "generation": generation,
                "genome": write_genome(genome),
                "arch_digest": arch.digest,
                "ap_source": accuracy.source,
                "ap_std": accuracy.std,
            },
        )
        for genome, arch, accuracy, latencies, violation in zip(
            evaluated.genomes, archs, accuracies, evaluated.latency_ms.tolist(), violations, strict=True
        )
    ]


def history_of(trials: Sequence[FrozenTrial], problem: SearchProblem) -> History:
    """Return the evaluations that trials of ``finished_trials``, in the order of their numbers, record."""
    num_genes = problem.cost.codec.length
    genomes = np.array([genome_of(trial) for trial in trials], np.int8).reshape(-1, num_genes)
    ap = np.array([trial.values[0] for trial in trials], np.float64)
    std = np.array([trial.user_attrs["ap_std"] for trial in trials], np.float64)
    return problem.evaluated(genomes, ap, std)


def genome_of(trial: FrozenTrial) -> list[int]:
    """Return the genome of a trial."""
    return read_genome(trial.user_attrs["genome"])


def generation_of(trial: FrozenTrial) -> int:
    """Return the generation that a trial belongs to."""
    return int(trial.user_attrs["generation"])


def write_genome(genome: Genomes) -> str:
    """Return a genome, shape (G,), as text."""
    return "-".join(map(str, genome.tolist()))


def read_genome(text: str) -> list[int]:
    """Return the genes that ``write_genome`` wrote."""
    return [int(gene) for gene in text.split("-")]


def _distribution(low: int | float, high: int | float) -> BaseDistribution:
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high)
    return FloatDistribution(low, high)
