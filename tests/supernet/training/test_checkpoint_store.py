"""Whatever happens to a checkpoint, the one before it is there, and nothing that is loaded runs."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.checkpoint_store import NAME, CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def state_at(step: int) -> dict[str, Any]:
    """What a trainer might save: tensors, moments, plain values, minus infinity."""
    weights = torch.randn(40, 30, generator=torch.Generator().manual_seed(step))
    return {"step": step, "model": {"weight": weights}, "best_ap": -float("inf"), "average": None, "bad_images": ["a"]}


def save(store: CheckpointStore, *steps: int) -> None:
    for step in steps:
        store.save(step, state_at(step))


def steps_in(store: CheckpointStore) -> list[int]:
    matches = [NAME.fullmatch(path.name) for path in store.folder.iterdir()]
    return sorted(int(match[1]) if match else -1 for match in matches)


def path_of(store: CheckpointStore, step: int) -> Path:
    (path,) = store.folder.glob(f"step_{step:08d}_*.pt")
    return path


def last_step(store: CheckpointStore) -> int:
    state = store.load_last()
    assert state is not None
    expected = state_at(state["step"])
    assert torch.equal(state["model"].pop("weight"), expected["model"].pop("weight"))
    assert state == expected
    return int(state["step"])


def test_the_last_two_are_kept(store: CheckpointStore) -> None:
    assert store.load_last() is None
    store.folder.mkdir()
    (store.folder / "notes.txt").write_text("none of ours")
    assert store.load_last() is None
    (store.folder / "notes.txt").unlink()
    for step in range(1, 6):
        save(store, step)
        assert steps_in(store) == list(range(max(1, step - 1), step + 1))
        assert last_step(store) == step


def test_steps_are_ordered_as_numbers_whatever_the_file_times(store: CheckpointStore) -> None:
    save(store, 99_999_999, 100_000_000)
    assert len({len(path.name) for path in store.folder.iterdir()}) == 2, "one name is longer"
    os.utime(path_of(store, 99_999_999), (2e9, 2e9))
    assert last_step(store) == 100_000_000
    save(store, 100_000_001)
    assert steps_in(store) == [100_000_000, 100_000_001]


def flip_bit(content: bytes, place: float) -> bytes:
    index = int(place * (len(content) - 1))
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "with a byte too many": lambda content: content + b"\0",
    **{f"bit flipped at {place}": lambda content, place=place: flip_bit(content, place) for place in (0.0, 0.5, 1.0)},
}


def damage(store: CheckpointStore, step: int, kind: str) -> Path:
    path = path_of(store, step)
    path.write_bytes(DAMAGES[kind](path.read_bytes()))
    return path


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    save(store, 4, 6)
    path = damage(store, 6, kind)
    assert last_step(store) == 4
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{path}: is damaged: its content is not that of its name"]
    damage(store, 4, kind)
    with pytest.raises(InputError, match=f"{store.folder}: no checkpoint is whole; remove the folder to start again"):
        store.load_last()
    assert steps_in(store) == [4, 6]


@pytest.mark.parametrize(("again", "left"), [((6,), [4, 6]), ((5,), [4, 5]), ((5, 7), [5, 7])])
def test_a_damaged_checkpoint_takes_no_place_of_a_whole_one(
    store: CheckpointStore, again: tuple[int, ...], left: list[int]
) -> None:
    save(store, 4, 6)
    damage(store, 6, "cut in half")
    assert last_step(store) == 4
    save(store, *again)
    assert steps_in(store) == left
    assert last_step(store) == left[-1]


def test_a_failure_leaves_the_earlier_checkpoints(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, 1, 2)
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(OSError, match="Input/output error"):
        save(store, 3)
    assert steps_in(store) == [1, 2]
    assert last_step(store) == 2


def test_nothing_that_would_run_is_loaded(store: CheckpointStore) -> None:
    store.save(2, {"step": 2, "model": Path("a class whose code would run")})
    with pytest.raises(InputError, match=r"step_00000002_.*\.pt: holds more than tensors"):
        store.load_last()
