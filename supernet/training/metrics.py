"""Training metrics as JSON lines and for TensorBoard; a resumed run goes on without a gap or a repeat."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from litepose_ofa.supernet.files import naming, write_text
from litepose_ofa.supernet.json_lines import read_json_lines


@contextmanager
def metrics_log(folder: Path | None, *, first_step: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yield what writes a step's values to ``metrics.jsonl`` and ``tensorboard/`` in a run folder, if there is one.

    A value that is not finite becomes null. What an earlier run wrote at ``first_step`` and later is dropped.
    """
    if folder is None:
        yield lambda step, values: None
        return
    path = folder / "metrics.jsonl"
    kept = [line for line in read_json_lines(path) if line["step"] < first_step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
    file = path.open("a", encoding="utf-8")
    board = SummaryWriter(folder / "tensorboard", purge_step=first_step)

    def write(step: int, values: Mapping[str, float]) -> None:
        rounded = {name: round(value, 8) if math.isfinite(value) else None for name, value in values.items()}
        with naming(path):
            file.write(json.dumps({"step": step, **rounded}) + "\n")
            file.flush()
            for name, value in values.items():
                board.add_scalar(name, value, step)

    try:
        yield write
    finally:
        with naming(path):
            file.close()
            board.close()
