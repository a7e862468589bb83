"""The checkpoints of a training: the last two, each whole and proved whole by the hash in its name."""

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


class CheckpointStore:
    """Checkpoints in a folder, named ``step_<step>_<first 16 digits of the SHA-256 of the content>.pt``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a state, then delete all but it and the one before; a failure leaves the earlier ones as they are.

        A checkpoint of a later step goes too: it was damaged, or the training would have gone on from it.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        path = self.folder / f"step_{step:08d}_{_digest(content)}.pt"
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        found = self._found()
        before = next((old for number, old in found if number < step), path)
        for _, old in found:
            if old not in (path, before):
                old.unlink()

    def load_last(self) -> dict[str, Any] | None:
        """Return the last state that is whole, or None if there is no checkpoint; damaged ones are reported.

        Raises:
            InputError: If there are checkpoints and none is whole.
        """
        found = self._found()
        for _, path in found:
            if path.stem.endswith(_digest(path.read_bytes())):
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
        matches = [(NAME.fullmatch(path.name), path) for path in self.folder.glob("step_*.pt")]
        found = [(int(match[1]), path) for match, path in matches if match]
        return sorted(found, key=lambda pair: (pair[0], pair[1].stat().st_mtime_ns), reverse=True)


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
