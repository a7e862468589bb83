"""Files that only grow, a line at a time, and survive being cut off at any moment."""

import fcntl
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import naming, require_regular


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSON-lines file, none if it is absent; a last line without an end is not there yet.

    Raises:
        InputError: If a complete line is not a JSON object; the message names file and line.
    """
    if not path.exists():
        return []
    require_regular(path)
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}: is not a JSON object; remove the line or the file")
        records.append(record)
    return records


def append_json_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append an object as one line that is on the disk when this returns; safe among processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    require_regular(path)
    with naming(path), path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove_torn_line(path)
        file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def remove_torn_line(path: Path) -> None:
    """Cut off what follows the last end of line: the writer was killed there. The caller holds the file's lock."""
    with path.open("rb+") as file:
        if not file.seek(0, os.SEEK_END):
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
        file.truncate(end)


@contextmanager
def sole_user(path: Path) -> Iterator[None]:
    """Hold a file, made if absent, for the block; it is free again when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    require_regular(path)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process writes it; wait for that or end it") from None
        yield
