"""Reading whole networks' timings that somebody made by other means than a kit: a CSV of networks and milliseconds."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from litepose_ofa.latency_tables.few_shot import TimedNetwork
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, located, shown
from litepose_ofa.supernet.export.bundle import ARCH_FILE, CONFIG_FILE, MANIFEST_FILE, open_export
from litepose_ofa.supernet.files import read_text, read_yaml, write_text
from litepose_ofa.supernet.validation import Checked, Count, validate

TIMINGS_FILE = "timings.csv"
COLUMNS = ("network", "ms")

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_DIGEST = re.compile(r"[0-9a-f]{12}")


class _Keypoints(Checked):
    num_keypoints: Count


class TimingsFile:
    """The timings of a CSV; ``exports`` is the folder in which the digests of architectures are looked for."""

    def __init__(self, path: Path, exports: Path) -> None:
        self._path, self._exports = path, exports

    def read(self, num_keypoints: int) -> list[TimedNetwork]:
        """Return its networks; those of architecture files have ``num_keypoints``, exported ones their own.

        Raises:
            InputError: If the file is missing or no such CSV, a network is unknown or stands twice, or a time is
                missing or no positive number; the message names file and line.
        """
        networks: list[TimedNetwork] = []
        lines: dict[Arch, int] = {}
        for line, name, text in self._lines():
            with located(f"{self._path}, line {line}"):
                ms = _milliseconds(text)
                arch, keypoints = self._network(name)
                first = lines.setdefault(arch, line)
                if first != line:
                    raise InputError(f"the architecture of line {first} again; each may stand once")
                networks.append(TimedNetwork(arch, keypoints or num_keypoints, ms))
        return networks

    def _lines(self) -> Iterator[tuple[int, str, str]]:
        """Yield the number, the network and the ms of every line that is not empty."""
        reader = csv.reader(io.StringIO(read_text(self._path).removeprefix("\ufeff"), newline=""), strict=True)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            if sorted(header) != sorted(COLUMNS):
                known = f"the columns are {' and '.join(COLUMNS)}, separated by a comma"
                raise InputError(f"{self._path}, line 1: is {shown(','.join(header))}; {known}")
            for fields in reader:
                if len(fields) not in (0, len(COLUMNS)):
                    needed = f"{len(COLUMNS)}, {' and '.join(COLUMNS)} with a decimal point"
                    raise InputError(
                        f"{self._path}, line {reader.line_num}: has {len(fields)} fields; it must have {needed}"
                    )
                if any(field.strip() for field in fields):
                    row = dict(zip(header, (field.strip() for field in fields), strict=True))
                    yield reader.line_num, row["network"], row["ms"]
        except csv.Error as error:
            raise InputError(f"{self._path}: is not CSV ({error})") from None

    def _network(self, name: str) -> tuple[Arch, int | None]:
        """Return a network's architecture, and its keypoints if it was exported."""
        for path in (self._path.parent / name, Path(name)):
            if path.is_dir() and name:
                return _exported(path)
            if path.is_file():
                return Arch.load(path), None
        if _DIGEST.fullmatch(name) and name in self._by_digest:
            return _exported(self._by_digest[name])
        raise InputError(
            f"network is {shown(name)}; it must be a folder that litepose export wrote, the digest of an architecture "
            f"in one below {self._path.parent} or {self._exports}, or an architecture's .json or .yaml file"
        )

    @cached_property
    def _by_digest(self) -> Mapping[str, Path]:
        """The exported folders by the digest of their architecture."""
        places = (self._exports, "*/*/"), (self._exports, "*/*/*/"), (self._path.parent, "*/")
        files = [file for folder, pattern in places for file in sorted(folder.glob(f"{pattern}{ARCH_FILE}"))]
        return {Arch.load(file).digest: file.parent for file in files}


def write_blank(path: Path, networks: list[str]) -> None:
    """Write the CSV with the networks, and no time yet."""
    write_text(path, "".join(f"{line}\n" for line in (",".join(COLUMNS), *(f"{name}," for name in networks))))


def _milliseconds(text: str) -> float:
    if not text:
        raise InputError("ms is empty; fill it in, or take the line out")
    if not _NUMBER.fullmatch(text) or not 0 < (ms := float(text)) < math.inf:
        raise InputError(f"ms is {shown(text)}; it must be a number of milliseconds above 0, with a decimal point")
    return ms


def _exported(folder: Path) -> tuple[Arch, int]:
    """Return architecture and keypoints of an export, which is checked as everywhere, or of a network of a spread."""
    if (folder / MANIFEST_FILE).exists():
        open_export(folder)
    if not (folder / ARCH_FILE).is_file():
        raise InputError(f"{folder}: has no {ARCH_FILE}; litepose export writes one")
    usage: Any = read_yaml(folder / CONFIG_FILE)
    keypoints = usage.get("num_keypoints") if isinstance(usage, dict) else None
    checked = validate(_Keypoints, {"num_keypoints": keypoints}, str(folder / CONFIG_FILE))
    return Arch.load(folder / ARCH_FILE), checked.num_keypoints
