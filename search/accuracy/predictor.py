"""The accuracy predictor: AP of any genome of a space, learned from measured subnets."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from litepose_ofa.search.accuracy.evaluators import AccuracyModel, ApModel, Source
from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor_quality import require_samples
from litepose_ofa.search.accuracy.regressors import REGRESSORS, Kind, Regressor
from litepose_ofa.search.genome import GenomeCodec, Genomes, genome_keys
from litepose_ofa.supernet.archs.arch import MOST_KEYPOINTS
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import replacing, require_regular
from litepose_ofa.supernet.validation import Checked, validate

Identity = Mapping[str, Any]
"""The weights' hash, the split, the BN recipe and what else accuracies depend on; plain JSON values."""


class _Header(Checked, extra="ignore"):
    """A file's header; earlier versions wrote the fitted values too."""

    space: dict[str, Any]
    num_keypoints: Annotated[int, Field(ge=1, le=MOST_KEYPOINTS)]
    identity: dict[str, Any]
    kind: Kind
    arrays: str


@dataclass(frozen=True, eq=False)
class RegressedAp(ApModel):
    """A fitted regressor, and the features of genomes that it was fitted to."""

    features: GenomeFeatures
    regressor: Regressor

    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return predicted AP in [0, 1] of canonical genomes, shape (n, G), and its standard deviation, each (n,)."""
        features = self.features(genomes)
        return np.clip(self.regressor.predict_mean(features), 0, 1), self.regressor.predict_std(features)

    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return only the predicted AP, shape (n,): half the work."""
        return np.clip(self.regressor.predict_mean(self.features(genomes)), 0, 1)


class AccuracyPredictor(RegressedAp, AccuracyModel):
    """Predict AP from genomes, with the standard deviation of the prediction; fitting is deterministic.

    Args:
        space: The search space.
        genomes: The measured subnets: distinct canonical genomes, shape (m, G).
        ap: Their measured AP in [0, 1], shape (m,).
        identity: What they were measured on.
        kind: The kind of regressor; ``predictor_quality.compare_regressors`` chooses among them.
        num_keypoints: K of the networks.
        like: A regressor whose settings to keep as far as they take long to choose.
        header: Header of the file that the samples were read from, if they were.

    Raises:
        InputError: If there are too few samples or an AP is not finite.
    """

    def __init__(
        self,
        space: SearchSpace,
        genomes: Genomes,
        ap: NDArray[np.float64],
        *,
        identity: Identity,
        kind: Kind = "gaussian_process",
        num_keypoints: int = 14,
        like: Regressor | None = None,
        header: str | None = None,
    ) -> None:
        require_samples(ap)
        self.source: Source = "predictor"
        self.space = space
        self.kind: Kind = kind
        self.genomes = genomes
        self.ap = ap
        self.identity = _plain(identity)
        self.num_keypoints = num_keypoints
        self._recorded = header
        features = GenomeFeatures(space, num_keypoints=num_keypoints)
        samples = features.training_set(genomes, ap)
        self.codec = features.codec
        super().__init__(features, REGRESSORS[kind](samples) if like is None else like.refitted(samples))

    def refitted(self, genomes: Genomes, ap: NDArray[np.float64]) -> Self:
        """Return a predictor fitted to the samples and to further measured subnets, the kind of regressor kept.

        A subnet that was a sample already counts once, with its new AP. The canonical genomes, shape (n, G), and their
        AP, shape (n,), are of the same supernet and split.
        """
        genomes, ap = np.concatenate([genomes, self.genomes]), np.concatenate([ap, self.ap])
        rows = np.sort(np.unique(genome_keys(genomes), return_index=True)[1])
        described: dict[str, Any] = {"identity": self.identity, "num_keypoints": self.num_keypoints}
        return type(self)(self.space, genomes[rows], ap[rows], kind=self.kind, like=self.regressor, **described)

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the samples, their provenance and the kind."""
        return hashlib.sha256(self._header.encode()).hexdigest()[:12]

    def require(self, *, space: SearchSpace, identity: Identity | None = None) -> None:
        """Raise ``InputError`` that names what differs, if this is to serve another space or another supernet."""
        if self.space != space:
            raise InputError(f"the predictor was fitted on space {self.space.name!r}, not on this {space.name!r}")
        now = self.identity if identity is None else _plain(identity)
        for key in sorted({*self.identity, *now}):
            if self.identity.get(key) != now.get(key):
                before, after = shown(self.identity.get(key)), shown(now.get(key))
                raise InputError(
                    f"the predictor was fitted on another supernet or split ({key} was {before}, is {after}); "
                    "run litepose sample and litepose fit again"
                )

    def save(self, path: Path | str) -> None:
        """Write one safetensors file: the samples, and everything else as JSON in its header."""
        with replacing(path) as temporary:
            temporary.write_bytes(serialise(self._arrays, metadata={"predictor": self._header}))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote, and fit again; ``InputError`` if it is missing, damaged or not a predictor."""
        path = Path(path)
        require_regular(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; litepose fit writes it")
        try:
            with safe_open(path, "numpy") as file:
                text = (file.metadata() or {})["predictor"]
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is not a mapping
            header = validate(_Header, json.loads(text), "its header")
            if _arrays_digest(arrays) != header.arrays:
                raise ValueError("its arrays were changed")
            space, genomes, ap = SearchSpace.from_dict(header.space), arrays["genomes"], arrays["ap"]
            if genomes.dtype != np.int8 or not GenomeCodec(space).is_valid(genomes).all():
                raise ValueError("a genome is not of its space")
            if ap.shape != genomes.shape[:1]:
                raise ValueError("it has not one AP for each genome")
            described: dict[str, Any] = {"identity": header.identity, "num_keypoints": header.num_keypoints}
            return cls(space, genomes, ap, kind=header.kind, header=text, **described)
        except (SafetensorError, OSError, IndexError, KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise InputError(
                f"{path}: is not an accuracy predictor of this version ({why}); run litepose fit again"
            ) from None

    @property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"genomes": np.ascontiguousarray(self.genomes), "ap": np.ascontiguousarray(self.ap)}

    @cached_property
    def _header(self) -> str:
        if self._recorded is not None:
            return self._recorded
        header = {"space": self.space.to_dict(), "num_keypoints": self.num_keypoints, "identity": self.identity}
        return json.dumps({**header, "kind": self.kind, "arrays": _arrays_digest(self._arrays)}, sort_keys=True)


def _arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    hasher = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        hasher.update(f"{name} {array.dtype} {array.shape} ".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


def _plain(identity: Identity) -> dict[str, Any]:
    """Return an identity as a JSON file gives it back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(identity)))
    return plain
