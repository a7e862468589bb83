"""A finished search read back: what it chose, and the best of its front."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.study.results import (
    CHOSEN_FILE,
    FRONT_FILE,
    PROGRESS_FILE,
    read_rows,
)
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.validation import (
    Checked,
    Count,
    Fraction,
    NonNegative,
    Whole,
    validate,
)


class _SearchedBy(Checked, extra="ignore"):
    """What an outcome depended on."""

    space: dict[str, Any]
    evaluator: dict[str, Any]
    num_keypoints: Count = 14
    devices: dict[str, dict[str, Any]] = Field(default_factory=dict)


class _Chosen(Checked, extra="ignore"):
    """What ``chosen.json`` must hold to be read back, and may hold beside it."""

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
    """What ``litepose search`` left in a folder.

    Attributes:
        folder: The folder.
        arch: The chosen architecture.
        record: All that ``chosen.json`` holds beside it.
    """

    folder: Path
    arch: Arch
    record: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a search's folder, ``search/<device>/<tier>`` of a workspace.

        Raises:
            InputError: If nothing was searched there, or the file is damaged.
        """
        path = folder / CHOSEN_FILE
        if not path.exists():
            raise InputError(f"{path}: no such file; search first (litepose search device=... tier={folder.name})")
        record = read_json(path)
        validate(_Chosen, record, str(path))
        with located(path):
            return cls(folder, Arch.from_dict(record.pop("arch")), record)

    def require_weights(self, weights: str) -> None:
        """Check that the search measured the supernet of this digest.

        Raises:
            InputError: If it was another one, or none: a search by the surrogate of the published figures.
        """
        path, searched = self.folder / CHOSEN_FILE, self.record["search"]["evaluator"].get("weights")
        if searched is None:
            raise InputError(
                f"{path}: was searched by a surrogate, on no supernet's weights; search again with evaluator=predictor "
                "or evaluator=supernet to have subnets of one"
            )
        if searched != weights:
            raise InputError(f"{path}: was searched on other weights than the workspace's supernet has ({weights})")

    def is_complete(self, run_folder: Path) -> bool:
        """Say whether front and progress are there and whole, too.

        Args:
            run_folder: Where the progress is: a search for several devices has one for all of them.
        """
        try:
            front, progress = read_rows(self.folder / FRONT_FILE), read_rows(run_folder / PROGRESS_FILE)
            evaluations = int(progress[-1]["evaluations"])
        except (InputError, KeyError, ValueError):
            return False
        sizes = self.record.get("evaluations"), self.record.get("front_size", len(front))
        return sizes == (evaluations, len(front))

    def best(self, count: int) -> list[Arch]:
        """Return the best architectures of the front within the budget, or all if it has fewer.

        Verified ones come before those that were only predicted, the greater AP first; so the first is the chosen one.

        Raises:
            InputError: If the front is missing, damaged, or not of the search's space.
        """
        path = self.folder / FRONT_FILE
        with located(self.folder / CHOSEN_FILE):
            codec = GenomeCodec(SearchSpace.from_dict(self.record["search"]["space"]))
        rows = read_rows(path)
        try:
            within = [row for row in rows if float(row["latency_ms"]) <= self.record["budget_ms"]]
            archs = [_decode(codec, row) for row in sorted(within, key=_preference)[:count]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: is no front of this search ({error})") from None
        require(len(archs) > 0, f"{path}: the number of architectures within the budget", 0, "at least 1")
        return archs


def _preference(row: Mapping[str, str]) -> tuple[bool, float, float, int, str]:
    verified = row["verified_ap"] != ""
    ap = float(row["verified_ap"] if verified else row["ap"])
    return not verified, -ap, float(row["latency_ms"]), int(row["params"]), row["arch_digest"]


def _decode(codec: GenomeCodec, row: Mapping[str, str]) -> Arch:
    arch = codec.decode([int(gene) for gene in row["genome"].split("-")])
    require(arch.digest == row["arch_digest"], "arch_digest", row["arch_digest"], f"{arch.digest}, by its genome")
    return arch
