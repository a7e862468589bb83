"""What a search leaves behind: the front with all its numbers, the subnet chosen from it, and how it went.

Legend: n genomes, G genes.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.evaluators import Accuracy, Evaluator, Source
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.problem.history import History
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.study.generations import Progress
from litepose_ofa.search.study.trials import write_genome
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing, require_regular, write_json

FRONT_FILE = "front.csv"
CHOSEN_FILE = "chosen.json"
PROGRESS_FILE = "progress.csv"

FRONT_COLUMNS = (
    "arch_digest", "ap", "ap_source", "ap_std", "verified_ap", "latency_ms", "latency_low_ms", "latency_high_ms",
    "latency_provenance", "latency_table", "decoding_provenance", "decoding_cost", "macs", "macs_as_published",
    "params", "peak_memory_bytes", "image_size", "genome",
)  # fmt: skip
"""Columns of ``front.csv``; of a search for several devices, ``latency_ms/<device>`` of the others comes after."""


@dataclass(frozen=True)
class Candidate:
    """An architecture of a device's front with everything known of it.

    Attributes:
        arch: The architecture.
        genome: Its canonical genome, shape (G,).
        accuracy: The accuracy that the search used.
        verified: The accuracy measured afterwards, if it was.
        latency_ms: Latency on the device.
        latency_low_ms: Low end of the latency's 80 % interval.
        latency_high_ms: High end of it.
        latency_provenance: Whether the latency table was measured or estimated.
        latency_table: The table's digest.
        decoding_provenance: Whether the decoding that the latency includes was measured or assumed; empty without it.
        decoding_cost: The decoding cost's digest; empty without it.
        macs: True multiply-accumulates.
        macs_as_published: The LitePose paper's count of them.
        params: Trainable parameters.
        peak_memory_bytes: Peak activation memory at batch 1 and float32.
        other_latencies_ms: Latencies on the search's other devices.
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
    latency_table: str = ""
    decoding_provenance: str = ""
    decoding_cost: str = ""
    macs_as_published: int | None = None
    peak_memory_bytes: int | None = None
    other_latencies_ms: Mapping[str, float] = field(default_factory=dict)

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
            "latency_table": self.latency_table,
            "decoding_provenance": self.decoding_provenance,
            "decoding_cost": self.decoding_cost,
            "macs": self.macs,
            "macs_as_published": self.macs_as_published,
            "params": self.params,
            "peak_memory_bytes": self.peak_memory_bytes,
            "image_size": self.arch.image_size,
            "genome": write_genome(self.genome),
            **{f"latency_ms/{device}": ms for device, ms in self.other_latencies_ms.items()},
        }


def front_candidates(
    problem: SearchProblem, history: History, source: Source, *, device: str | None = None
) -> list[Candidate]:
    """Return a front of a search with all its numbers, the greatest AP first.

    Args:
        problem: What was searched.
        history: All evaluations.
        source: Where their accuracies come from.
        device: Whose front; None for the only device.
    """
    return candidates_of(problem, history, problem.front(history, device), source, device=device)


def candidates_of(
    problem: SearchProblem, history: History, rows: NDArray[np.intp], source: Source, *, device: str | None = None
) -> list[Candidate]:
    """Return some evaluations of a search, by their indices, with all their numbers on a device."""
    chosen = history.rows(rows)
    accuracies = [Accuracy(ap, source, std) for ap, std in zip(chosen.ap.tolist(), chosen.ap_std.tolist(), strict=True)]
    return _candidates(problem, chosen.genomes, accuracies, device or problem.device)


def sampled_candidates(
    problem: SearchProblem, samples: AccuracySamples, evaluator: Evaluator, *, device: str | None = None
) -> list[Candidate]:
    """Return the predictor's samples that a device allows, as verified: they were measured, and cost nothing more.

    With ``goal="shared"`` all devices have to allow them.

    Args:
        problem: What was searched.
        samples: Measured subnets.
        evaluator: What the search used.
        device: The device; None for the only one.
    """
    device = device or problem.device
    excess = problem.limits.excess(samples.genomes)
    column = problem.devices.index(device)
    within = (excess.sum(axis=1) if problem.goal == "shared" else excess[:, column]) == 0
    genomes = samples.genomes[within]
    if not len(genomes):
        return []
    measured = [Accuracy(ap, "supernet") for ap in samples.ap[within].tolist()]
    is_measuring = evaluator.source == "supernet"
    used = measured if is_measuring else evaluator.evaluate(problem.cost.codec.decode_many(genomes))
    found = _candidates(problem, genomes, used, device)
    return [replace(each, verified=accuracy) for each, accuracy in zip(found, measured, strict=True)]


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


def write_front(path: Path | str, candidates: Sequence[Candidate]) -> None:
    """Write the front as CSV, a candidate a line, in the given order; what is unknown is empty."""
    others = candidates[0].other_latencies_ms if candidates else ()
    columns = (*FRONT_COLUMNS, *(f"latency_ms/{device}" for device in others))
    _write_csv(path, columns, (candidate.to_dict() for candidate in candidates))


def write_chosen(path: Path | str, chosen: Candidate, record: Mapping[str, Any]) -> None:
    """Write the chosen subnet: its architecture in published form, its numbers, and a record of the search."""
    write_json(path, {"arch": chosen.arch.to_dict(), **chosen.to_dict(), **record})


def write_progress(path: Path | str, progress: Sequence[Progress], source: Source) -> None:
    """Write how the hypervolume, by accuracies of one source, grew; a generation a line."""
    rows = [{**asdict(each), "ap_source": source} for each in progress]
    _write_csv(path, (*Progress.__dataclass_fields__, "ap_source"), rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a front or a progress.

    Raises:
        InputError: If the file is missing, empty, cut off or no CSV.
    """
    require_regular(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; the same litepose search writes it")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        is_whole = rows and path.read_bytes().endswith(b"\n") and not any(None in {*row, *row.values()} for row in rows)
    except (UnicodeDecodeError, csv.Error):
        is_whole = False
    if not is_whole:
        raise InputError(f"{path}: is cut off or is no CSV; remove it, and the same litepose search writes it again")
    return rows


def _write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _candidates(
    problem: SearchProblem, genomes: Genomes, accuracies: Sequence[Accuracy], device: str
) -> list[Candidate]:
    costs = problem.cost.evaluate(genomes)
    low, high = problem.cost.latency_interval(genomes, device)
    columns = (costs[f"latency_ms/{device}"], low, high, costs["macs"], costs["params"])
    sources = problem.latency_sources(device)
    decoding = sources["decoding"] or {"provenance": "", "digest": ""}
    others = {other: costs[f"latency_ms/{other}"].tolist() for other in problem.devices if other != device}
    memory, archs = problem.cost.peak_memory_bytes(genomes).tolist(), problem.cost.codec.decode_many(genomes)
    return [
        Candidate(
            arch=arch,
            genome=genome,
            accuracy=accuracy,
            verified=None,
            latency_ms=ms,
            latency_low_ms=low_ms,
            latency_high_ms=high_ms,
            latency_provenance=sources["network"]["provenance"],
            latency_table=sources["network"]["digest"],
            decoding_provenance=decoding["provenance"],
            decoding_cost=decoding["digest"],
            macs=macs,
            macs_as_published=measure_complexity(arch, problem.cost.num_keypoints).macs_as_published,
            params=params,
            peak_memory_bytes=memory[row],
            other_latencies_ms={other: latencies[row] for other, latencies in others.items()},
        )
        for row, (arch, genome, accuracy, ms, low_ms, high_ms, macs, params) in enumerate(
            zip(archs, genomes, accuracies, *(column.tolist() for column in columns), strict=True)
        )
    ]


def _preference(candidate: Candidate) -> tuple[float, float, int, str]:
    return (-candidate.best_known.ap, candidate.latency_ms, candidate.params, candidate.arch.digest)
