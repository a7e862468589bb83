"""A log that a kill cannot spoil, as JSON lines and for TensorBoard."""

import json
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from litepose_ofa.supernet.training.metrics import metrics_log


def lines(folder: Path) -> list[dict[str, float | None]]:
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def test_lines_are_readable_at_once_and_a_resumed_log_has_neither_repeats_nor_torn_ones(tmp_path: Path) -> None:
    """TensorBoard shows the same."""
    with metrics_log(tmp_path, first_step=0) as write:
        for step in range(6):
            write(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    expected: list[dict[str, float | None]] = [{"step": step, "loss": float(step)} for step in range(4)]
    with metrics_log(tmp_path, first_step=4) as write:
        assert lines(tmp_path) == expected
        write(4, {"loss": 0.123456789, "norm": math.inf, "rate": math.nan})
        expected.append({"step": 4, "loss": 0.12345679, "norm": None, "rate": None})
        assert lines(tmp_path) == expected
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        *((step, step) for step in range(4)),
        (4, pytest.approx(0.123456789)),
    ]
