"""A log that a kill cannot spoil, as JSON lines and for TensorBoard."""

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from litepose_ofa.supernet.training.metrics import metrics_log


def lines(folder: Path) -> list[dict[str, float]]:
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def test_lines_are_readable_as_soon_as_they_are_written(tmp_path: Path) -> None:
    with metrics_log(tmp_path, first_step=0) as write:
        write(0, {"loss/largest": 0.123456789, "rate": 1.0})
        assert lines(tmp_path) == [{"step": 0, "loss/largest": 0.12345679, "rate": 1.0}]
        write(5, {"loss/largest": math.nan, "norm": math.inf})
        assert lines(tmp_path)[1] == {"step": 5, "loss/largest": None, "norm": None}


def test_a_resumed_log_has_neither_repeats_nor_torn_lines(tmp_path: Path) -> None:
    with metrics_log(tmp_path, first_step=0) as write:
        for step in range(6):
            write(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with metrics_log(tmp_path, first_step=4) as write:
        assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3]
        write(4, {"loss": 40.0})
    assert lines(tmp_path) == [{"step": step, "loss": float(step)} for step in range(4)] + [{"step": 4, "loss": 40.0}]


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    with metrics_log(tmp_path, first_step=0) as write:
        for step in range(4):
            write(step, {"loss": step / 4})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(s, s / 4) for s in range(4)]
