"""Architectures as Optuna trials: few parameters that mean something, the whole genome as an attribute.

Legend: n trials, G genes, D devices.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from litepose_ofa.search.accuracy.evaluators import Accuracy
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace

MEAN = "mean_"
"""How the names of those parameters begin that are means over all blocks."""

T = TypeVar("T")


def trial_params(arch: Arch) -> dict[str, int | float]:
    """Return what a trial shows of an architecture: a parameter a stage and choice at most, never one a block.

    An Optuna storage writes every parameter of every trial, and an importance plot of 80 of them tells nothing.
    """
    return {
        name: sum(values) / len(values) if name.startswith(MEAN) else values[0]
        for name, values in _by_parameter(arch.chosen).items()
    }


def trial_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the range of every parameter: from the least to the greatest value that the space offers."""
    distributions: dict[str, BaseDistribution] = {}
    for name, offered in _by_parameter(space.choices).items():
        low, high = min(map(min, offered)), max(map(max, offered))
        is_mean = name.startswith(MEAN)
        distributions[name] = FloatDistribution(float(low), float(high)) if is_mean else IntDistribution(low, high)
    return distributions


def finished_trials(
    problem: SearchProblem,
    evaluated: History,
    archs: Sequence[Arch],
    accuracies: Sequence[Accuracy],
    generation: int,
) -> list[FrozenTrial]:
    """Return the evaluations of a generation, their architectures and accuracies as complete trials."""
    distributions = trial_distributions(problem.cost.space)
    violations = problem.combined(evaluated.excess).tolist()
    return [
        create_trial(
            values=[accuracy.ap, *latencies],
            params=trial_params(arch),
            distributions=distributions,
            constraints={"violation": violation},
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


def write_genome(genome: Genomes) -> str:
    """Return a genome, shape (G,), as text."""
    return "-".join(map(str, genome.tolist()))


def read_genome(text: str) -> list[int]:
    """Return the genes that ``write_genome`` wrote."""
    return [int(gene) for gene in text.split("-")]


def _by_parameter(choices: Mapping[str, T]) -> dict[str, list[T]]:
    """Gather what belongs to the choices' names under the parameters that show them."""
    gathered: defaultdict[str, list[T]] = defaultdict(list)
    for name, value in choices.items():
        match name.split("."):
            case ["image_size"]:
                gathered["resolution"].append(value)
            case [_, _, of_block]:
                gathered[MEAN + of_block].append(value)
            case _:
                gathered[name].append(value)
    return gathered
