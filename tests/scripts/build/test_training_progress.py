"""What a training says: a bar that fits its terminal and stays whole, or lines where there is none."""

import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
from tqdm.contrib.logging import logging_redirect_tqdm

from litepose_ofa.scripts.build.training_progress import TrainingProgress
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.step import StepResult

STEPS, DONE = 440_000, (220_000, 220_001)
COLUMNS = 80
LOSSES = dict.fromkeys(("largest", "smallest", "random0", "random1"), 0.0123456)
VALUES = {**{f"loss/{name}": loss for name, loss in LOSSES.items()}, "images_per_second": 1234.5}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger, without pytest's handlers, with one on standard output as Hydra configures it."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.INFO)
    yield root
    root.handlers[0].close()


def watch(rank: int = 0) -> None:
    """Two steps that are told, and a validation; the bar believes that days have passed."""
    root = logging.getLogger()
    root.addHandler(logging.StreamHandler(sys.stdout))
    trainer: Any = SimpleNamespace(plan=SimpleNamespace(steps=STEPS), step=0, process=Process(rank, 1 + rank))
    with logging_redirect_tqdm(), TrainingProgress(trainer) as progress:
        if not progress._bar.disable:
            progress._bar.start_t -= 400_000
        for step in DONE:
            progress.on_step(step, StepResult(LOSSES, {}, None))
            progress.on_values(step, VALUES)
            progress._bar.refresh()
        progress.on_values(DONE[-1], {"ap/largest": 0.456, "ap/smallest": 0.3})


def test_a_bar_fits_80_columns_and_no_line_cuts_through_it(
    logged: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    with os.fdopen(slave, "w", encoding="utf-8") as terminal:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, terminal)
        watch()
    shown = b""
    with suppress(OSError):  # at the end, as nobody holds the other side
        while piece := os.read(master, 2**16):
            shown += piece
    os.close(master)
    pieces = [piece.strip() for piece in re.split(r"[\r\n]+", shown.decode())]
    bars = [piece for piece in pieces if "|" in piece]
    assert all(len(bar) < COLUMNS for bar in bars)
    hours = r"111:\d\d:\d\d"
    assert re.fullmatch(rf"50%\|\S+ *\| 220001/440000 \[{hours}<{hours}, 1234\.5 images/s, loss 0\.0123\]", bars[-1])
    assert [piece for piece in pieces if piece and piece not in bars] == [
        f"step {DONE[-1]} of {STEPS}: AP largest 45.6, smallest 30.0"
    ]


@pytest.mark.parametrize("rank", [0, 1])
def test_without_a_terminal_there_are_lines_of_the_main_process(
    logged: logging.Logger, capsys: pytest.CaptureFixture[str], rank: int
) -> None:
    watch(rank)
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    losses = "largest 0.0123, smallest 0.0123, random0 0.0123, random1 0.0123"
    expected = [rf"step {step} of {STEPS}: loss {losses}; 1234\.5 images/s; \d+ (s|min|h) left" for step in DONE]
    expected = expected if rank == 0 else []
    assert len(lines) == len(expected) + 1
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, lines, strict=False))


def test_a_terminal_for_the_bar_alone_leaves_the_lines_to_the_file(
    logged: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``litepose train > file``."""
    stderr: TextIO = sys.stderr
    monkeypatch.setattr(stderr, "isatty", lambda: True)
    watch()
    told = capsys.readouterr()
    assert told.out.count("images/s; ") == 2
    assert "images/s, loss" in told.err
