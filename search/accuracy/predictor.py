"""The accuracy predictor: AP of any genome of a space, learned from measured subnets, and how far to trust it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from litepose_ofa.search.accuracy.evaluators import Source
from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor_quality import cross_validate, require_samples
from litepose_ofa.search.accuracy.regressors import (
    REGRESSORS,
    Kind,
    Regressor,
    TrainingSet,
)
from litepose_ofa.search.genome import GenomeCodec, Genomes, genome_keys
from litepose_ofa.supernet.archs.arch import MOST_KEYPOINTS
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import replacing, require_regular
from litepose_ofa.supernet.validation import Checked, validate

REGRESSOR_PREFIX = "regressor."

Identity = Mapping[str, Any]
"""What accuracies were measured on, such as the weights' hash, the split and the BN recipe; plain JSON values."""


@dataclass(frozen=True, slots=True)
class PredictorQuality:
    """Cross-validated quality: every sample is predicted by a fit that did not see it.

    Attributes:
        num_samples: Measured subnets.
        kendall_tau: Rank correlation of predicted and measured AP.
        mae: Mean absolute error in AP.
    """

    num_samples: int
    kendall_tau: float
    mae: float


class _Header(Checked):
    """What the file of a predictor says beside its arrays."""

    space: dict[str, Any]
    num_keypoints: Annotated[int, Field(ge=1, le=MOST_KEYPOINTS)]
    identity: dict[str, Any]
    quality: dict[str, int | Annotated[float, Field(allow_inf_nan=True)]]
    kind: Kind
    settings: dict[str, Any]
    arrays: str


class AccuracyPredictor:
    """Predict AP from genomes, with the standard deviation of the prediction.

    Args:
        space: The search space.
        regressor: The fitted regression.
        genomes: The measured subnets, shape (m, G).
        ap: Their measured AP, shape (m,).
        identity: What the accuracies were measured on.
        quality: Cross-validated quality of the kind of regressor, when it was chosen.
        num_keypoints: K of the networks.

    Example:
        >>> predictor = AccuracyPredictor.fit(space, genomes, ap, identity=identity)  # doctest: +SKIP
        >>> mean, std = predictor.predict(GenomeCodec(space).sample(1000, rng))  # doctest: +SKIP
    """

    def __init__(
        self,
        space: SearchSpace,
        regressor: Regressor,
        genomes: Genomes,
        ap: NDArray[np.float64],
        *,
        identity: Identity,
        quality: PredictorQuality,
        num_keypoints: int = 14,
    ) -> None:
        self.source: Source = "predictor"
        self.space = space
        self.regressor = regressor
        self.genomes = genomes
        self.ap = ap
        self.identity = _plain(identity)
        self.quality = quality
        self.num_keypoints = num_keypoints
        self._features = GenomeFeatures(space, num_keypoints=num_keypoints)

    @classmethod
    def fit(
        cls,
        space: SearchSpace,
        genomes: Genomes,
        ap: NDArray[np.float64],
        *,
        identity: Identity,
        kind: Kind = "gaussian_process",
        num_keypoints: int = 14,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Fit to measured subnets and cross-validate.

        Args:
            space: The search space.
            genomes: Distinct canonical genomes, shape (m, G).
            ap: Their measured AP in [0, 1], shape (m,).
            identity: What they were measured on.
            kind: The kind of regressor; ``predictor_quality.compare_regressors`` chooses among them.
            num_keypoints: K of the networks.
            rng: Divides the samples into folds; seeded with 0 if absent.

        Raises:
            InputError: If there are too few samples or an AP is not finite.
        """
        require_samples(ap)
        samples = training_set(space, genomes, ap, num_keypoints=num_keypoints)
        validation = cross_validate(kind, samples, rng or np.random.default_rng(0))
        quality = PredictorQuality(len(ap), validation.kendall_tau, validation.mae)
        regressor = REGRESSORS[kind].fit(samples)
        return cls(space, regressor, genomes, ap, identity=identity, quality=quality, num_keypoints=num_keypoints)

    def refitted(self, genomes: Genomes, ap: NDArray[np.float64]) -> Self:
        """Return a predictor fitted to the samples and to further measured subnets, the kind of regressor kept.

        A subnet that was a sample already counts once, with its new AP. The cross-validated quality is not renewed.

        Args:
            genomes: Canonical genomes, shape (n, G).
            ap: Their measured AP in [0, 1], on the same supernet and split, shape (n,).

        Raises:
            InputError: If an AP is not finite.
        """
        genomes, ap = np.concatenate([genomes, self.genomes]), np.concatenate([ap, self.ap])
        require_samples(ap)
        rows = np.sort(np.unique(genome_keys(genomes), return_index=True)[1])
        samples = training_set(self.space, genomes[rows], ap[rows], num_keypoints=self.num_keypoints)
        return type(self)(
            self.space,
            self.regressor.refitted(samples),
            genomes[rows],
            ap[rows],
            identity=self.identity,
            quality=self.quality,
            num_keypoints=self.num_keypoints,
        )

    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return predicted AP in [0, 1] of canonical genomes, shape (n, G), and its standard deviation, each (n,)."""
        features = self._features(genomes)
        return np.clip(self.regressor.predict_mean(features), 0, 1), self.regressor.predict_std(features)

    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return only the predicted AP, shape (n,): half the work."""
        return np.clip(self.regressor.predict_mean(self._features(genomes)), 0, 1)

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the fit and its provenance."""
        return hashlib.sha256(self._metadata.encode()).hexdigest()[:12]

    def describe(self) -> dict[str, Any]:
        """Return the digest and what the accuracies were measured on."""
        return {"predictor": self.digest, **self.identity}

    def require(self, *, space: SearchSpace, identity: Identity | None = None) -> None:
        """Refuse to serve another search space or another supernet.

        Raises:
            InputError: Naming what differs.
        """
        if self.space != space:
            raise InputError(f"the predictor was fitted on space {self.space.name!r}, not on this {space.name!r}")
        if identity is None:
            return
        now = _plain(identity)
        for key in sorted({*self.identity, *now}):
            if self.identity.get(key) != now.get(key):
                before, after = shown(self.identity.get(key)), shown(now.get(key))
                raise InputError(
                    f"the predictor was fitted on another supernet or split ({key} was {before}, is {after}); "
                    "run litepose sample and litepose fit again"
                )

    def save(self, path: Path | str) -> None:
        """Write one safetensors file: the arrays, and everything else as JSON in its header."""
        with replacing(path) as temporary:
            temporary.write_bytes(serialise(self._arrays, metadata={"predictor": self._metadata}))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            InputError: If the file is missing, damaged or no predictor.
        """
        path = Path(path)
        require_regular(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; litepose fit writes it")
        try:
            with safe_open(path, "numpy") as file:
                header = validate(_Header, json.loads((file.metadata() or {})["predictor"]), "its header")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            if _arrays_digest(arrays) != header.arrays:
                raise ValueError("its arrays were changed")
            return cls._restore(header, arrays)
        except (SafetensorError, OSError, IndexError, KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise InputError(
                f"{path}: is no accuracy predictor of this version ({why}); run litepose fit again"
            ) from None

    @classmethod
    def _restore(cls, header: _Header, arrays: Mapping[str, NDArray[Any]]) -> Self:
        regressor_arrays = {
            name.removeprefix(REGRESSOR_PREFIX): array
            for name, array in arrays.items()
            if name.startswith(REGRESSOR_PREFIX)
        }
        space, genomes, ap = SearchSpace.from_dict(header.space), arrays["genomes"], arrays["ap"]
        if genomes.dtype != np.int8 or not GenomeCodec(space).is_valid(genomes).all():
            raise ValueError("a genome is not of its space")
        if not (ap.shape == genomes.shape[:1] and np.isfinite(ap).all()):
            raise ValueError("it has not one AP for each genome")
        restored = cls(
            space,
            REGRESSORS[header.kind].restore(regressor_arrays, header.settings),
            genomes,
            ap,
            identity=header.identity,
            quality=PredictorQuality(**header.quality),  # type: ignore[arg-type]
            num_keypoints=header.num_keypoints,
        )
        if not np.isfinite(restored.predict(genomes[:2])).all():
            raise ValueError("its predictions are not finite")
        return restored

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        fitted = {f"{REGRESSOR_PREFIX}{name}": array for name, array in self.regressor.arrays().items()}
        arrays = {**fitted, "genomes": self.genomes, "ap": self.ap}
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    @cached_property
    def _metadata(self) -> str:
        return json.dumps(
            {
                "space": self.space.to_dict(),
                "num_keypoints": self.num_keypoints,
                "identity": self.identity,
                "quality": asdict(self.quality),
                "kind": self.regressor.kind,
                "settings": self.regressor.settings(),
                "arrays": _arrays_digest(self._arrays),
            },
            sort_keys=True,
        )


def training_set(
    space: SearchSpace, genomes: Genomes, ap: NDArray[np.float64], *, num_keypoints: int = 14
) -> TrainingSet:
    """Return what regressors are fitted to, of genomes (m, G) and their AP (m,)."""
    features = GenomeFeatures(space, num_keypoints=num_keypoints)
    return TrainingSet(features(genomes), ap, features.weights)


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
