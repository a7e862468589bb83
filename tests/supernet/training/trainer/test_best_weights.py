"""Validations on the way, and the weights of the best one."""

import copy
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training.trainer import BEST_FILE, Trainer

State = dict[str, Any]


class PlannedScores:
    """A validation whose scores are planted by step; keeps the weights that it was given."""

    scores: dict[int, dict[str, float]] = {  # noqa: RUF012
        2: {"smallest": 0.2, "largest": 0.5},
        4: {"smallest": 0.3, "largest": 0.6},
        6: {"smallest": 0.1, "largest": 0.7},
    }
    best = 4

    def __init__(self) -> None:
        self.given: dict[int, State] = {}
        self.trainer: Trainer | None = None

    def __call__(self, model: PoseNetwork) -> dict[str, float]:
        assert self.trainer is not None
        assert model is self.trainer.trained
        self.given[self.trainer.step] = copy.deepcopy(model.state_dict())
        return self.scores[self.trainer.step]


@pytest.mark.parametrize(("cuts", "ema_decay"), [((), 0.5), ((3,), 0.5), ((4,), 0.5), ((5,), 0.0)])
def test_the_best_weights_are_kept(folder: Path, cuts: tuple[int, ...], ema_decay: float, trainings: Any) -> None:
    validate = PlannedScores()
    for until in (*cuts, 6):
        trainer = trainings.make(validate=validate, validate_every=2, ema_decay=ema_decay)
        validate.trainer = trainer
        trainer.train(should_stop=trainings.stop_after(until - trainer.step))
    assert list(validate.given) == [2, 4, 6]
    assert trainings.is_equal(load_supernet(folder / BEST_FILE).state_dict(), validate.given[validate.best])
    assert trainer.best_ap == pytest.approx(0.45)
    lines = [line for line in trainings.metrics(folder) if "ap/smallest" in line]
    assert [(line["step"] + 1, line["ap/smallest"], line["ap/largest"]) for line in lines] == [
        (step, *scores.values()) for step, scores in validate.scores.items()
    ]
