"""A log that a kill cannot spoil, as JSON lines and for TensorBoard."""

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from litepose_ofa.supernet.training.metrics import MetricsLog


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_are_readable_as_soon_as_they_are_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, first_step=0) as log:
        log.write(0, {"loss/largest": 0.123456789, "rate": 1.0})
        assert lines(tmp_path) == [{"step": 0, "loss/largest": 0.12345679, "rate": 1.0}]
        log.write(5, {"loss/largest": 0.1})
        assert lines(tmp_path)[1] == {"step": 5, "loss/largest": 0.1}


def test_a_resumed_log_has_neither_repeats_nor_torn_lines(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, first_step=0) as log:
        for step in range(6):
            log.write(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with MetricsLog(tmp_path, first_step=4) as log:
        assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3]
        log.write(4, {"loss": 40.0})
    assert lines(tmp_path) == [{"step": step, "loss": float(step)} for step in range(4)] + [{"step": 4, "loss": 40.0}]


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, first_step=0) as log:
        for step in range(4):
            log.write(step, {"loss": step / 4})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(s, s / 4) for s in range(4)]


def test_a_value_that_is_not_finite_is_null(tmp_path: Path) -> None:
    """Plain JSON has no NaN."""
    with MetricsLog(tmp_path, first_step=0) as log:
        log.write(0, {"loss": math.nan, "norm": math.inf, "rate": 0.5})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"step": 0, "loss": None, "norm": None, "rate": 0.5}


def test_a_rank_without_a_folder_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with MetricsLog(None, first_step=3) as log:
        log.write(3, {"loss": 1.0})
    assert not list(tmp_path.iterdir())
