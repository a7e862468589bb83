"""An ensemble of small perceptrons, all trained at once in torch and evaluated in NumPy.

Each member is a straight line plus one hidden layer, begins elsewhere and sees its own bootstrap weights; their spread
is the uncertainty.

Source: Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles
(arXiv:1612.01474).
Legend: n queries, m samples, P features, E members, H hidden units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from litepose_ofa.search.accuracy.regressors.base import (
    CHUNK,
    Arrays,
    Ensemble,
    Floats,
    Kind,
    Standardisation,
    TrainingSet,
)

MEMBERS = 8
HIDDEN = 24
STEPS = 300
LEARNING_RATE = 0.02
WEIGHT_DECAY = 0.02


@dataclass(frozen=True)
class MlpEnsemble(Ensemble):
    """A fitted ensemble.

    Attributes:
        standardisation: Of the features.
        mean, spread: Of the samples' targets; the members predict targets of mean 0 and deviation 1.
        linear: Shape (E, P).
        inner, inner_bias: Shapes (E, P, H) and (E, H).
        outer, outer_bias: Shapes (E, H) and (E,).
    """

    kind: ClassVar[Kind] = "mlp_ensemble"

    standardisation: Standardisation
    mean: float
    spread: float
    linear: Floats
    inner: Floats
    inner_bias: Floats
    outer: Floats
    outer_bias: Floats

    @classmethod
    def fit(cls, samples: TrainingSet) -> Self:
        """Train all members."""
        standardisation = Standardisation.of(samples)
        mean, spread = float(samples.targets.mean()), max(float(samples.targets.std()), 1e-6)
        weights = _train(standardisation(samples.features), (samples.targets - mean) / spread)
        return cls(standardisation, mean, spread, *weights)

    def refitted(self, samples: TrainingSet) -> Self:
        """Return an ensemble trained on other samples."""
        return self.fit(samples)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name."""
        scaling = {"offset": self.standardisation.offset, "scale": self.standardisation.scale}
        inner = {"linear": self.linear, "inner": self.inner, "inner_bias": self.inner_bias}
        return {**scaling, **inner, "outer": self.outer, "outer_bias": self.outer_bias}

    def settings(self) -> dict[str, Any]:
        """Return the other fitted values, for JSON."""
        return {"mean": self.mean, "spread": self.spread}

    @classmethod
    def restore(cls, arrays: Arrays, settings: Mapping[str, Any]) -> Self:
        """Return the regressor of ``arrays()`` and ``settings()``."""
        weights = (arrays[name] for name in ("linear", "inner", "inner_bias", "outer", "outer_bias"))
        scaling = Standardisation(arrays["offset"], arrays["scale"])
        return cls(scaling, float(settings["mean"]), float(settings["spread"]), *weights)

    def _predict_members(self, features: Floats) -> Floats:
        """Return every member's predictions for features (n, P), shape (E, n)."""
        members, size, hidden = self.inner.shape
        inner = self.inner.transpose(1, 0, 2).reshape(size, members * hidden)
        predicted = np.empty((members, len(features)))
        for start in range(0, len(features), CHUNK):
            x = self.standardisation(features[start : start + CHUNK])
            units = np.maximum(x @ inner + self.inner_bias.ravel(), 0).reshape(len(x), members, hidden)
            outer = np.einsum("neh,eh->en", units, self.outer) + self.outer_bias[:, None]
            predicted[:, start : start + CHUNK] = outer + self.linear @ x.T
        return self.mean + self.spread * predicted


def _train(x: Floats, y: Floats) -> list[Floats]:
    """Return the weights of all members after full-batch AdamW on squared error, a cosine down to 0."""
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.from_numpy(x), torch.from_numpy(y)
    size = x.shape[1]

    def weights(*shape: int, scale: float) -> torch.Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (scale * drawn).requires_grad_()

    parameters = [
        weights(MEMBERS, size, scale=0.0),
        weights(MEMBERS, size, HIDDEN, scale=size**-0.5),
        weights(MEMBERS, HIDDEN, scale=0.1),
        weights(MEMBERS, HIDDEN, scale=HIDDEN**-0.5),
        weights(MEMBERS, scale=0.0),
    ]
    linear, inner, inner_bias, outer, outer_bias = parameters
    drawn = torch.randint(len(y), (MEMBERS, len(y)), generator=generator)
    counts = torch.zeros(MEMBERS, len(y), dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY / LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        units = torch.relu(features @ inner + inner_bias[:, None])
        predicted = (units @ outer[:, :, None])[..., 0] + linear @ features.T + outer_bias[:, None]
        loss = (counts * (predicted - targets) ** 2).mean(dim=1).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return [parameter.detach().numpy() for parameter in parameters]
