"""An impossible setting is refused with its name and what is allowed."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.objective import LossSettings
from litepose_ofa.supernet.training.recipe import TrainingSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be an integer of at least 1"),
        ({"batch_size": 2.0}, "batch_size is 2.0; it must be an integer of at least 1"),
        ({"batch_size": True}, "batch_size is True; it must be an integer of at least 1"),
        ({"accumulation": 0}, "accumulation is 0; it must be an integer of at least 1"),
        ({"accumulation": 3}, "accumulation is 3; it must divide batch_size, 2"),
        ({"log_every": 0}, "log_every is 0; it must be an integer of at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; it must be an integer of at least 1"),
        ({"validate_every": -1}, "validate_every is -1; it must be an integer of at least 0"),
        ({"workers": -1}, "workers is -1; it must be an integer of at least 0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be above 0"),
        ({"workers": 257}, "workers is 257; it must be at most 256"),
        ({"clip_norm": math.inf}, "clip_norm is inf; it must be finite"),
        ({"weight_decay": math.inf}, "weight_decay is inf; it must be finite"),
        ({"clip_norm": math.nan}, "clip_norm is nan; it must be above 0"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001; it must be at least 0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; it must be at least 0 and below 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"optimizer": "lion"}, "optimizer is 'lion'; known: adamw, adam, sgd"),
        ({"update": "never"}, "update is 'never'; known: per_subnet, per_sandwich"),
        ({"precision": "int8"}, "precision is 'int8'; known: float32, bfloat16, float16"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(
    make_settings: Callable[..., TrainingSettings], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        make_settings(**changes)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sigmas": (0.0, 2.0)}, "sigmas"),
        ({"head_weights": (1.0, -1.0)}, "head_weights"),
        ({"sigma_size": -1}, "sigma_size"),
        ({"foreground_weight": -1.0}, "foreground_weight"),
        ({"tag_weight": math.nan}, "tag_weight"),
        ({"foreground_weight": math.inf}, "foreground_weight"),
        ({"sigmas": (2.0, math.inf)}, "sigmas"),
        ({"guide_final": 1.5}, "guide_final"),
        ({"distillation_weight": -0.1}, "distillation_weight"),
    ],
)
def test_an_impossible_loss_weight_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field} is .*; it must be"):
        LossSettings(**changes)
