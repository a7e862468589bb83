"""Whatever happens to a checkpoint, the one before it is there, and nothing that is loaded runs."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(store: CheckpointStore) -> None:
    assert store.load_last() is None
    store.folder.mkdir()
    (store.folder / "notes.txt").write_text("none of ours")
    assert store.load_last() is None


def test_the_last_two_are_kept(store: CheckpointStore) -> None:
    for step in range(1, 6):
        save(store, step)
        assert steps_in(store) == [max(1, step - 1), step] if step > 1 else [1]
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
    "its first byte alone": lambda content: content[:1],
    "cut in half": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "with a byte too many": lambda content: content + b"\0",
    "first byte flipped": lambda content: flip_bit(content, 0),
    "middle byte flipped": lambda content: flip_bit(content, 0.5),
    "last byte flipped": lambda content: flip_bit(content, 1),
    "zeros": lambda content: bytes(len(content)),
}


def damage(store: CheckpointStore, step: int, change: Callable[[bytes], bytes]) -> Path:
    path = path_of(store, step)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    save(store, 4, 6)
    path = damage(store, 6, DAMAGES[kind])
    assert last_step(store) == 4
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{path}: is damaged: its content is not that of its name"]


@pytest.mark.parametrize("kind", ["empty", "middle byte flipped"])
def test_without_a_whole_checkpoint_nothing_is_started_over(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    save(store, 4, 6)
    for step in (4, 6):
        damage(store, step, DAMAGES[kind])
    with pytest.raises(InputError, match="no checkpoint is whole; remove the folder to start again") as caught:
        store.load_last()
    assert str(store.folder) in str(caught.value)
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2
    assert steps_in(store) == [4, 6]


def test_a_damaged_checkpoint_takes_no_place_of_a_whole_one(store: CheckpointStore) -> None:
    save(store, 4, 8)
    damage(store, 8, DAMAGES["empty"])
    assert last_step(store) == 4
    save(store, 5, 6)
    assert steps_in(store) == [5, 6]
    assert last_step(store) == 6
    save(store, 7, 8)
    assert steps_in(store) == [7, 8]
    assert last_step(store) == 8


def test_a_step_saved_again_replaces_its_damaged_checkpoint(store: CheckpointStore) -> None:
    save(store, 4, 6)
    damage(store, 6, DAMAGES["cut in half"])
    save(store, 6)
    assert steps_in(store) == [4, 6]
    assert last_step(store) == 6


def test_a_failure_leaves_the_earlier_checkpoints(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, 1, 2)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        save(store, 3)
    monkeypatch.undo()
    assert steps_in(store) == [1, 2]
    assert last_step(store) == 2


def test_nothing_that_would_run_is_loaded(store: CheckpointStore) -> None:
    store.save(2, {"step": 2, "model": Path("a class whose code would run")})
    with pytest.raises(InputError, match=r"step_00000002_.*\.pt: holds more than tensors"):
        store.load_last()
