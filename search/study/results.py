"""The files of a search, written and read back: the front with all its numbers, the subnet chosen from it, progress.

Legend: n genomes, G genes.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from litepose_ofa.search.accuracy.evaluators import Accuracy, Source
from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.problem.problem import History, SearchProblem
from litepose_ofa.search.study.generations import Progress
from litepose_ofa.search.study.trials import read_genome, write_genome
from litepose_ofa.search.workspace import write_csv
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.files import read_json, require_regular, write_json
from litepose_ofa.supernet.validation import Checked, Count, Fraction, NonNegative, Whole, validate

FRONT_FILE = "front.csv"
CHOSEN_FILE = "chosen.json"
PROGRESS_FILE = "progress.csv"

NUMBERS = (
    "latency_ms", "latency_low_ms", "latency_high_ms", "latency_provenance", "latency_table", "decoding_provenance",
    "decoding_cost", "macs", "macs_as_published", "params", "peak_memory_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """An architecture of a device's front with everything known of it.

    Attributes:
        genome: Its canonical genome, shape (G,).
        accuracy: The accuracy that the search used.
        verified_ap: AP as it was measured, if it was.
        latency_low_ms, latency_high_ms: Ends of the latency's 80 % interval.
        latency_table, decoding_cost: Digests of what the latency rests on; that of the decoding is empty without it.
        macs: True multiply-accumulates; ``macs_as_published`` is the LitePose paper's count.
        peak_memory_bytes: Peak activation memory at batch 1 and float32.
        other_latencies_ms: Latencies on the search's other devices.
    """

    arch: Arch
    genome: Genomes
    accuracy: Accuracy
    verified_ap: float | None
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_provenance: str
    latency_table: str
    decoding_provenance: str
    decoding_cost: str
    macs: int
    macs_as_published: int
    params: int
    peak_memory_bytes: int
    other_latencies_ms: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values, a key a column of ``front.csv``; other devices' latencies come last."""
        return {
            "arch_digest": self.arch.digest,
            "ap": self.accuracy.ap,
            "ap_source": self.accuracy.source,
            "ap_std": self.accuracy.std,
            "verified_ap": self.verified_ap,
            **{name: getattr(self, name) for name in NUMBERS},
            "image_size": self.arch.image_size,
            "genome": write_genome(self.genome),
            **{f"latency_ms/{device}": ms for device, ms in self.other_latencies_ms.items()},
        }


def front_candidates(
    problem: SearchProblem, front: History, source: Source, measured: NDArray[np.float64] | None, *, device: str
) -> list[Candidate]:
    """Return the evaluations of a device's front, by accuracies of one source, with all their numbers.

    ``measured`` is their AP as it was measured, shape (n,), if it was.
    """
    cost, sources = problem.cost, problem.latency_sources(device)
    decoding = sources["decoding"] or {"provenance": "", "digest": ""}
    archs, costs = cost.codec.decode_many(front.genomes), cost.evaluate(front.genomes)
    low, high = cost.latency_interval(front.genomes, device)
    memory = cost.peak_memory_bytes(front.genomes)
    others = [other for other in problem.devices if other != device]
    return [
        Candidate(
            arch=arch,
            genome=genome,
            accuracy=Accuracy(front.ap[row].item(), source, front.ap_std[row].item()),
            verified_ap=None if measured is None else measured[row].item(),
            latency_ms=costs[f"latency_ms/{device}"][row].item(),
            latency_low_ms=low[row].item(),
            latency_high_ms=high[row].item(),
            macs=costs["macs"][row].item(),
            params=costs["params"][row].item(),
            peak_memory_bytes=memory[row].item(),
            latency_provenance=cost.tables[device].estimate(arch, cost.num_keypoints).provenance,
            latency_table=sources["network"]["digest"],
            decoding_provenance=decoding["provenance"],
            decoding_cost=decoding["digest"],
            macs_as_published=measure_complexity(arch, cost.num_keypoints).macs_as_published,
            other_latencies_ms={other: costs[f"latency_ms/{other}"][row].item() for other in others},
        )
        for row, (arch, genome) in enumerate(zip(archs, front.genomes, strict=True))
    ]


def write_front(path: Path | str, candidates: Sequence[Candidate]) -> None:
    """Write the front as CSV, a candidate a line, in the given order; what is unknown is empty."""
    rows = [candidate.to_dict() for candidate in candidates]
    write_csv(path, list(rows[0]), rows)


def write_chosen(path: Path | str, chosen: Candidate, record: Mapping[str, Any]) -> None:
    """Write the chosen subnet: its architecture in published form, its numbers, a record of the search."""
    write_json(path, {"arch": chosen.arch.to_dict(), **chosen.to_dict(), **record})


def write_progress(path: Path | str, progress: Sequence[Progress], source: Source) -> None:
    """Write how the hypervolume, by accuracies of one source, grew; a generation a line."""
    columns = (*Progress.__dataclass_fields__, "ap_source")
    write_csv(path, columns, ({**asdict(each), "ap_source": source} for each in progress))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a front or a progress; refuse a file that is missing, empty, cut off or not CSV."""
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
        raise InputError(f"{path}: is cut off or is not CSV; remove it, and the same litepose search writes it again")
    return rows


class _SearchedBy(Checked, extra="ignore"):
    """Of a search's identity, what readers rely on."""

    space: dict[str, Any]
    evaluator: dict[str, Any]
    num_keypoints: Count = 14
    devices: dict[str, dict[str, Any]] = Field(default_factory=dict)


class _Chosen(Checked, extra="ignore"):
    """Of ``chosen.json``, what readers rely on."""

    arch: dict[str, Any]
    budget_ms: Annotated[float, Field(ge=0, allow_inf_nan=True)]
    search: _SearchedBy
    arch_digest: str = ""
    ap: Fraction | None = None
    ap_source: str = ""
    ap_std: float | None = None
    verified_ap: Fraction | None = None
    latency_ms: NonNegative | None = None
    latency_low_ms: NonNegative | None = None
    latency_high_ms: NonNegative | None = None
    latency_provenance: str = ""
    macs: Whole | None = None
    params: Whole | None = None
    image_size: Whole | None = None
    stopped_by: str = ""


@dataclass(frozen=True)
class SearchOutcome:
    """The files of a search, read back: the chosen architecture, and what ``chosen.json`` holds beside it."""

    folder: Path
    arch: Arch
    record: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``search/<device>/<tier>`` of a workspace; ``InputError`` if nothing was searched or it is damaged."""
        path = folder / CHOSEN_FILE
        if not path.exists():
            raise InputError(f"{path}: no such file; search first (litepose search device=... tier={folder.name})")
        record = read_json(path)
        validate(_Chosen, record, str(path))
        with located(path):
            return cls(folder, Arch.from_dict(record.pop("arch")), record)

    def require_weights(self, weights: str) -> None:
        """Refuse a search that measured another supernet than that of this digest, or none."""
        path, searched = self.folder / CHOSEN_FILE, self.record["search"]["evaluator"].get("weights")
        if searched is None:
            raise InputError(
                f"{path}: was searched by a surrogate, on no supernet's weights; search again with evaluator=predictor "
                "or evaluator=supernet to have subnets of one"
            )
        if searched != weights:
            raise InputError(f"{path}: was searched on other weights than the workspace's supernet has ({weights})")

    def is_complete(self, run_folder: Path) -> bool:
        """Say whether the front, and the progress in the run's folder, are there and whole, too."""
        try:
            front, progress = read_rows(self.folder / FRONT_FILE), read_rows(run_folder / PROGRESS_FILE)
            evaluations = int(progress[-1]["evaluations"])
        except (InputError, KeyError, ValueError):
            return False
        sizes = self.record.get("evaluations"), self.record.get("front_size", len(front))
        return sizes == (evaluations, len(front))

    def best(self, count: int) -> list[Arch]:
        """Return the best architectures of the front within the budget, or all if it has fewer.

        The greater AP comes first, and so the chosen one.
        """
        path = self.folder / FRONT_FILE
        with located(self.folder / CHOSEN_FILE):
            codec = GenomeCodec(SearchSpace.from_dict(self.record["search"]["space"]))
        rows = read_rows(path)
        try:
            within = [row for row in rows if float(row["latency_ms"]) <= self.record["budget_ms"]]
            rows = sorted(within, key=_row_preference)[:count]
            archs = [codec.decode(read_genome(row["genome"])) for row in rows]
            for row, arch in zip(rows, archs, strict=True):
                require(
                    arch.digest == row["arch_digest"],
                    "arch_digest",
                    row["arch_digest"],
                    f"{arch.digest}, by its genome",
                )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: is not a front of this search ({error})") from None
        require(len(archs) > 0, f"{path}: the number of architectures within the budget", 0, "at least 1")
        return archs


def _row_preference(row: Mapping[str, str]) -> tuple[float, float, int, str]:
    return -float(row["ap"]), float(row["latency_ms"]), int(row["params"]), row["arch_digest"]
