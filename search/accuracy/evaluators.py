"""Where the accuracy of an architecture comes from: the supernet, a predictor of it, or the published figures."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.search.genome import GenomeCodec, Genomes
from litepose_ofa.search.workers.pool import EvaluationPool, Measure, SerialPool
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.json_lines import append_json_line, read_json_lines
from litepose_ofa.supernet.validation import Checked, Fraction, validate

Source = Literal["supernet", "predictor", "published-surrogate", "shipped-predictor"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """AP of one architecture in [0, 1], where it comes from, and the standard deviation of a prediction."""

    ap: float
    source: Source
    std: float = 0.0


class Evaluator(Protocol):
    """Gives the accuracies of architectures; ``source`` is that of all of them."""

    source: Source

    def evaluate(self, archs: Sequence[Arch]) -> list[Accuracy]:
        """Return one accuracy an architecture, in order."""

    def describe(self) -> Mapping[str, Any]:
        """Return the identity of what accuracies are measured on; equal identities give equal accuracies."""


class ApModel(ABC):
    """Predicts AP of whole batches of genomes."""

    @abstractmethod
    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return AP in [0, 1] of canonical genomes, shape (n, G), and its standard deviation, each (n,)."""

    @abstractmethod
    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return only the AP, shape (n,): half the work."""


class AccuracyModel(ApModel):
    """An evaluator that predicts; ``identity`` is what its accuracies stand for, such as a supernet's weights."""

    source: Source
    codec: GenomeCodec
    num_keypoints: int
    identity: Mapping[str, Any]

    @property
    @abstractmethod
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of everything that its predictions depend on."""

    def evaluate(self, archs: Sequence[Arch]) -> list[Accuracy]:
        """Return the predicted accuracies; ``InputError`` if an architecture is not of the model's space."""
        mean, std = self.predict(self.codec.encode_many(archs))
        return [Accuracy(ap, self.source, s) for ap, s in zip(mean.tolist(), std.tolist(), strict=True)]

    def describe(self) -> Mapping[str, Any]:
        """Return the digest and what the accuracies stand for."""
        return {"evaluator": self.source, "predictor": self.digest, **self.identity}


class _Record(Checked, extra="ignore"):
    """A line of the accuracies."""

    arch_digest: str
    identity: str
    ap: Fraction


class AccuracyCache:
    """Measured accuracies on disk, by content: the architecture and what it was measured on.

    The file, which need not exist, has one JSON object a line and only grows, so that a run may be killed at any moment
    and nothing is measured twice.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._known: dict[tuple[str, str], float] = {}
        for number, line in enumerate(read_json_lines(self.path), start=1):
            record = validate(_Record, line, f"{self.path}, line {number}")
            self._known[record.arch_digest, record.identity] = record.ap

    def __len__(self) -> int:
        return len(self._known)

    def get(self, arch: Arch, identity: Mapping[str, Any]) -> float | None:
        """Return the AP of an architecture as measured on ``identity``, or None if it was not."""
        return self._known.get((arch.digest, identity_digest(identity)))

    def put(self, arch: Arch, identity: Mapping[str, Any], ap: float) -> None:
        """Record a measured AP; ``InputError`` if it is not a number in [0, 1]."""
        if not 0 <= ap <= 1:
            raise InputError(f"architecture {arch.digest} has the AP {shown(ap)}; it must be a number from 0 to 1")
        digest = identity_digest(identity)
        record = {"arch_digest": arch.digest, "identity": digest, "ap": ap, "arch": arch.to_dict()}
        append_json_line(self.path, {**record, "measured_on": dict(identity)})
        self._known[arch.digest, digest] = ap


class SupernetEvaluator:
    """Measure architectures as subnets of a trained supernet, each once.

    Args:
        measure: Measures one architecture's AP in [0, 1]; or a pool that measures many at a time.
        identity: What it measures on: the weights' hash, the split, the BN recipe.
        cache: Where measurements are kept.
    """

    source: Source = "supernet"

    def __init__(self, measure: Measure | EvaluationPool, *, identity: Mapping[str, Any], cache: AccuracyCache) -> None:
        self._pool = SerialPool(measure) if callable(measure) else measure
        self._identity = dict(identity)
        self._cache = cache

    def evaluate(self, archs: Sequence[Arch]) -> list[Accuracy]:
        """Return the accuracies, measuring what the cache lacks; earlier ones are kept if one is refused."""
        return list(self.stream(archs))

    def stream(self, archs: Sequence[Arch]) -> Iterator[Accuracy]:
        """Yield the accuracies in order, each once it is known and kept; see ``evaluate``."""
        waiting = dict.fromkeys(arch for arch in archs if self._cache.get(arch, self._identity) is None)
        measured = self._pool.map(list(waiting))
        for arch in archs:
            ap = self._cache.get(arch, self._identity)
            if ap is None:
                ap = float(next(measured))
                self._cache.put(arch, self._identity, ap)
            yield Accuracy(ap, self.source)

    def describe(self) -> Mapping[str, Any]:
        """Return what the accuracies are measured on."""
        return {"evaluator": self.source, **self._identity}


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of an identity's canonical JSON."""
    canonical = json.dumps(dict(identity), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
