"""What a search leaves behind: the front with all its numbers, and the subnet chosen from it."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.evaluators import Accuracy, Evaluator, Source
from search.genome import Genomes
from search.problem import History, SearchProblem
from search.sampling import AccuracySamples
from supernet.arch import Arch
from supernet.files import replacing, write_json

FRONT_FILE = "front.csv"
CHOSEN_FILE = "chosen.json"

FRONT_COLUMNS = (
    "arch_digest", "ap", "ap_source", "ap_std", "verified_ap", "latency_ms", "latency_low_ms", "latency_high_ms",
    "latency_provenance", "macs", "params", "image_size", "genome",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """An architecture of a front with everything known of it.

    Attributes:
        arch: The architecture.
        genome: Its canonical genome, shape (G,).
        accuracy: The accuracy that the search used.
        verified: The accuracy measured afterwards, if it was.
        latency_ms: Latency on the search's device.
        latency_low_ms: Low end of the latency's 80 % interval.
        latency_high_ms: High end of it.
        latency_provenance: Whether the latency table was measured or estimated.
        macs: True multiply-accumulates.
        params: Trainable parameters.
    """

    arch: Arch
    genome: Genomes
    accuracy: Accuracy
    verified: Accuracy | None
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_provenance: str
    macs: int
    params: int

    @property
    def best_known(self) -> Accuracy:
        """The verified accuracy if there is one, else the search's."""
        return self.verified or self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values, a key a column of ``front.csv``."""
        return {
            "arch_digest": self.arch.digest,
            "ap": self.accuracy.ap,
            "ap_source": self.accuracy.source,
            "ap_std": self.accuracy.std,
            "verified_ap": None if self.verified is None else self.verified.ap,
            "latency_ms": self.latency_ms,
            "latency_low_ms": self.latency_low_ms,
            "latency_high_ms": self.latency_high_ms,
            "latency_provenance": self.latency_provenance,
            "macs": self.macs,
            "params": self.params,
            "image_size": self.arch.image_size,
            "genome": "-".join(map(str, self.genome.tolist())),
        }


def front_candidates(problem: SearchProblem, history: History, source: Source) -> list[Candidate]:
    """Return the front of a search with all its numbers, the greatest AP first.

    Args:
        problem: What was searched.
        history: All evaluations.
        source: Where their accuracies come from.
    """
    front = history.rows(history.front(problem.budget_ms))
    accuracies = [Accuracy(ap, source, std) for ap, std in zip(front.ap.tolist(), front.ap_std.tolist(), strict=True)]
    return _candidates(problem, front.genomes, accuracies)


def sampled_candidates(problem: SearchProblem, samples: AccuracySamples, evaluator: Evaluator) -> list[Candidate]:
    """Return the predictor's samples within the budget, as verified: they were measured, and cost nothing more.

    Args:
        problem: What was searched.
        samples: Measured subnets.
        evaluator: What the search used.
    """
    within = problem.latency_ms(samples.genomes) <= problem.budget_ms
    genomes = samples.genomes[within]
    if not len(genomes):
        return []
    candidates = _candidates(problem, genomes, evaluator.evaluate(problem.cost.codec.decode_many(genomes)))
    return [
        replace(candidate, verified=Accuracy(ap, "supernet"))
        for candidate, ap in zip(candidates, samples.ap[within].tolist(), strict=True)
    ]


def _candidates(problem: SearchProblem, genomes: Genomes, accuracies: Sequence[Accuracy]) -> list[Candidate]:
    costs = problem.cost.evaluate(genomes)
    low, high = problem.cost.latency_interval(genomes, problem.device)
    columns = (problem.latency_ms(genomes), low, high, costs["macs"], costs["params"])
    return [
        Candidate(
            arch=problem.cost.codec.decode(genome),
            genome=genome,
            accuracy=accuracy,
            verified=None,
            latency_ms=ms,
            latency_low_ms=low_ms,
            latency_high_ms=high_ms,
            latency_provenance=problem.cost.tables[problem.device].metadata.provenance,
            macs=macs,
            params=params,
        )
        for genome, accuracy, ms, low_ms, high_ms, macs, params in zip(
            genomes, accuracies, *(column.tolist() for column in columns), strict=True
        )
    ]


def verify(candidates: Sequence[Candidate], evaluator: Evaluator) -> Iterator[Candidate]:
    """Measure candidates with a true evaluator, one at a time."""
    for candidate in candidates:
        (accuracy,) = evaluator.evaluate([candidate.arch])
        yield replace(candidate, verified=accuracy)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Return the best verified candidate, or the best if none is verified.

    Of equal accuracies the faster wins, then the smaller, then the lesser digest.
    """
    verified = [candidate for candidate in candidates if candidate.verified is not None]
    return min(verified or candidates, key=_preference)


def _preference(candidate: Candidate) -> tuple[float, float, int, str]:
    return (-candidate.best_known.ap, candidate.latency_ms, candidate.params, candidate.arch.digest)


def write_front(path: Path | str, candidates: Sequence[Candidate]) -> None:
    """Write the front as CSV, a candidate a line, in the given order; what is unknown is empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FRONT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(candidate.to_dict() for candidate in candidates)


def write_chosen(path: Path | str, chosen: Candidate, record: Mapping[str, Any]) -> None:
    """Write the chosen subnet: its architecture in published form, its numbers, and a record of the search."""
    write_json(path, {"arch": chosen.arch.to_dict(), **chosen.to_dict(), **record})
