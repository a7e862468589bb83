"""The accuracy predictor: AP of any genome of a space, learned from measured subnets, and how far to trust it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise
from scipy.stats import kendalltau

from search.features import GenomeFeatures
from search.gaussian_process import GaussianProcess, Kernel
from search.genome import Genomes
from supernet.errors import InputError
from supernet.files import replacing
from supernet.space import SearchSpace

FEWEST_SAMPLES = 10
FOLDS = 10
ARRAYS = ("offset", "scale", "samples", "weights", "precision")

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


class AccuracyPredictor:
    """Predict AP from genomes, with the standard deviation of the prediction.

    Args:
        space: The search space.
        process: The fitted regression.
        identity: What the accuracies were measured on.
        quality: Cross-validated quality.
        num_keypoints: K of the networks.

    Example:
        >>> predictor = AccuracyPredictor.fit(space, genomes, ap, identity=identity)  # doctest: +SKIP
        >>> mean, std = predictor.predict(GenomeCodec(space).sample(1000, rng))  # doctest: +SKIP
    """

    def __init__(
        self,
        space: SearchSpace,
        process: GaussianProcess,
        *,
        identity: Identity,
        quality: PredictorQuality,
        num_keypoints: int = 14,
    ) -> None:
        self.space = space
        self.process = process
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
        num_keypoints: int = 14,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Fit to measured subnets and cross-validate.

        Args:
            space: The search space.
            genomes: Distinct canonical genomes, shape (m, G).
            ap: Their measured AP in [0, 1], shape (m,).
            identity: What they were measured on.
            num_keypoints: K of the networks.
            rng: Divides the samples into folds; seeded with 0 if absent.

        Raises:
            InputError: If there are too few samples or an AP is not finite.
        """
        if len(genomes) < FEWEST_SAMPLES:
            raise InputError(
                f"{len(genomes)} measured subnets are too few to fit a predictor; at least {FEWEST_SAMPLES}"
            )
        if not np.isfinite(ap).all():
            raise InputError(f"sample {int(np.argmin(np.isfinite(ap)))} has no finite AP; every sample needs one")
        features = GenomeFeatures(space, num_keypoints=num_keypoints)
        x = features(genomes)
        quality = _cross_validate(x, ap, features.weights, rng or np.random.default_rng(0))
        process = GaussianProcess.fit(x, ap, features.weights)
        return cls(space, process, identity=identity, quality=quality, num_keypoints=num_keypoints)

    def predict(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return predicted AP in [0, 1] of canonical genomes, shape (n, G), and its standard deviation, each (n,)."""
        features = self._features(genomes)
        return np.clip(self.process.predict_mean(features), 0, 1), self.process.predict_std(features)

    def predict_ap(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return only the predicted AP, shape (n,): half the work."""
        return np.clip(self.process.predict_mean(self._features(genomes)), 0, 1)

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the fit and its provenance."""
        hasher = hashlib.sha256(self._metadata.encode())
        for name in ARRAYS:
            hasher.update(np.ascontiguousarray(getattr(self.process, name)).tobytes())
        return hasher.hexdigest()[:12]

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
                raise InputError(
                    f"the predictor was fitted on another supernet or split ({key} was {self.identity.get(key)!r}, "
                    f"is {now.get(key)!r}); run sample_accuracies.py and fit_predictor.py again"
                )

    def save(self, path: Path | str) -> None:
        """Write one safetensors file: the arrays, and everything else as JSON in its header."""
        arrays = {name: np.ascontiguousarray(getattr(self.process, name)) for name in ARRAYS}
        with replacing(path) as temporary:
            temporary.write_bytes(serialise(arrays, metadata={"predictor": self._metadata}))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is missing, damaged or no predictor.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file; fit_predictor.py writes it")
        try:
            with safe_open(path, "numpy") as file:
                header = json.loads((file.metadata() or {})["predictor"])
                arrays = {name: file.get_tensor(name) for name in ARRAYS}
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: is not an accuracy predictor ({' '.join(str(error).split())})") from None
        process = GaussianProcess(
            **arrays, mean=header["mean"], signal=header["signal"], kernel=Kernel(**header["kernel"])
        )
        return cls(
            SearchSpace.from_dict(header["space"]),
            process,
            identity=header["identity"],
            quality=PredictorQuality(**header["quality"]),
            num_keypoints=header["num_keypoints"],
        )

    @cached_property
    def _metadata(self) -> str:
        return json.dumps(
            {
                "space": self.space.to_dict(),
                "num_keypoints": self.num_keypoints,
                "identity": self.identity,
                "quality": asdict(self.quality),
                "mean": self.process.mean,
                "signal": self.process.signal,
                "kernel": asdict(self.process.kernel),
            },
            sort_keys=True,
        )


def _plain(identity: Identity) -> dict[str, Any]:
    """Return an identity as a JSON file gives it back: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(identity)))
    return plain


def _cross_validate(
    features: NDArray[np.float64],
    ap: NDArray[np.float64],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> PredictorQuality:
    predicted = np.empty(len(ap))
    for fold in np.array_split(rng.permutation(len(ap)), FOLDS):
        rest = np.setdiff1d(np.arange(len(ap)), fold)
        predicted[fold] = GaussianProcess.fit(features[rest], ap[rest], weights).predict_mean(features[fold])
    tau = float(kendalltau(predicted, ap).statistic)
    return PredictorQuality(len(ap), tau if np.isfinite(tau) else 0.0, float(np.abs(predicted - ap).mean()))
