"""Training metrics as JSON lines and for TensorBoard; a resumed run goes on without a gap or a repeat."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from litepose_ofa.supernet.files import naming, require_regular, write_text


class MetricsLog:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` in a run folder.

    Args:
        folder: The run folder; None writes nothing, as on all ranks but the first.
        first_step: Step to go on from; what an earlier run wrote at later steps is dropped.
    """

    def __init__(self, folder: Path | None, *, first_step: int) -> None:
        self._folder = folder
        if folder is None:
            return
        self._path = folder / "metrics.jsonl"
        require_regular(self._path)
        kept = [line for line in self._lines() if line["step"] < first_step]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(folder / "tensorboard", purge_step=first_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step; one that is not finite becomes null."""
        if self._folder is None:
            return
        rounded = {name: round(value, 8) if math.isfinite(value) else None for name, value in values.items()}
        with naming(self._path):
            self._file.write(json.dumps({"step": step, **rounded}) + "\n")
            self._file.flush()
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            with naming(self._path):
                self._file.close()
                self._board.close()

    def _lines(self) -> list[dict[str, float]]:
        lines = []
        for text in self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:  # a kill can tear the last line
                continue
        return lines
