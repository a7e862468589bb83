"""The CSV that a kit's timings go to: every line is in the file before the next timing starts."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = ["round", "model", "purpose", "runs", "median_ms", "p10_ms", "mean_ms", "std_ms"]
COLUMNS += ["start_s", "clock_mhz", "temperature_c", "throttled"]
MUST_AGREE = ["kit", "threads", "options", "runtime", "runtime_version"]
MUST_AGREE += ["precision", "provider", "machine", "processor"]

SYNC_EVERY_S = 2.0  # a card or flash takes tens of milliseconds


class RefusedError(Exception):
    """Something that the user can mend; the message is one line."""


class Line(NamedTuple):
    """The fields of a line of the file that later work depends on; purpose is "round", "again" or "probe"."""

    round: int
    model: str
    purpose: str
    median_ms: float


class MeasurementFile:
    """The CSV: facts as JSON in a comment, a header, a line a timing. A last line that a kill tore is dropped."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        if not path.exists():
            new = path.with_name(path.name + ".new")
            new.write_text("# " + json.dumps(facts) + "\n" + ",".join(COLUMNS) + "\n", encoding="utf-8")
            os.replace(new, path)
        self._file = path.open("r+b")
        try:
            self.lines = self._read(path, facts)
        except RefusedError:
            self.close()
            raise
        self._synchronised = time.monotonic()

    def _read(self, path: Path, facts: dict[str, Any]) -> list[Line]:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(f"{path}: another process is writing to it") from None
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            first, _, *rows = whole.decode("utf-8").splitlines()
            before, lines = json.loads(first[1:]), [self._parse(row) for row in rows]
        except (ValueError, IndexError):
            raise RefusedError(f"{path}: is damaged or no file of measurements; move it away first") from None
        for name in MUST_AGREE:
            old, new = before.get(name), facts.get(name)
            if old != new:
                raise RefusedError(f"{path}: has {name} {old!r}, this run {new!r}; move the file away first")
        self._file.truncate(len(whole))
        self._file.seek(len(whole))
        return lines

    def append(self, values: list[object]) -> None:
        """Add a line; a kill cannot take it back, and a power failure at most the last ``SYNC_EVERY_S``."""
        row = ",".join("" if value is None else str(value) for value in values)
        self._file.write((row + "\n").encode("utf-8"))
        self._file.flush()
        if time.monotonic() - self._synchronised > SYNC_EVERY_S:
            os.fsync(self._file.fileno())
            self._synchronised = time.monotonic()
        self.lines.append(self._parse(row))

    def close(self) -> None:
        """Let another process have the file."""
        self._file.close()

    @staticmethod
    def _parse(row: str) -> Line:
        fields = row.split(",")
        return Line(int(fields[0]), fields[1], fields[2], float(fields[4]))
