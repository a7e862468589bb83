"""The checkpoints of a training: the last few, each whole and proved whole by the hash in its name."""

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.torch_files import read_torch_file

logger = logging.getLogger(__name__)

NAME = re.compile(r"step_(\d+)_([0-9a-f]{16})\.pt")
KEPT = 2


class CheckpointStore:
    """Checkpoints in a folder, named ``step_<step>_<first 16 digits of the SHA-256 of the content>.pt``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a state, then delete all but it and the one before; a failure leaves the earlier ones as they are.

        A checkpoint of a later step goes too: it was damaged, or the training would have gone on from it.

        Raises:
            OSError: If it cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        path = self.folder / f"step_{step:08d}_{hashlib.sha256(content).hexdigest()[:16]}.pt"
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        found = self._found()
        before = [old for number, old in found if number < step]
        for _, old in found:
            if old not in (path, *before[: KEPT - 1]):
                old.unlink()

    def load_last(self) -> dict[str, Any] | None:
        """Return the last state that is whole, or None if there is no checkpoint; damaged ones are reported.

        Raises:
            InputError: If there are checkpoints and none is whole.
        """
        found = self._found()
        for _, path in found:
            if _is_whole(path):
                state = read_torch_file(path)
                logger.info("%s: going on from here", path)
                assert isinstance(state, dict)
                return state
            logger.warning("%s: is damaged: its content is not that of its name", path)
        if found:
            raise InputError(f"{self.folder}: no checkpoint is whole; remove the folder to start again")
        return None

    def clear(self) -> None:
        """Delete all checkpoints, of a training whose result is kept elsewhere."""
        for _, path in self._found():
            path.unlink()

    def _found(self) -> list[tuple[int, Path]]:
        """Return step and path of every checkpoint, the last first; of two of one step, the newer one first."""
        paths = self.folder.iterdir() if self.folder.is_dir() else []
        matches = [(match, path) for path in paths if (match := NAME.fullmatch(path.name))]
        ordered = sorted(matches, key=lambda pair: (int(pair[0][1]), pair[1].stat().st_mtime_ns), reverse=True)
        return [(int(match[1]), path) for match, path in ordered]


def _is_whole(path: Path) -> bool:
    match = NAME.fullmatch(path.name)
    assert match is not None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(match[2])
