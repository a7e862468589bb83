"""JSON files larger than memory: the entries of the outermost object's lists, one at a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import require_regular

CHUNK = 1 << 20
"""Characters that are read at a time."""

MAX_ENTRY = 1 << 26
"""Most characters of one entry."""

Item = tuple[str, int | None, Any]
"""A key of the outermost object, a position in its list, and the entry there; None and ``[]`` where a list begins, and
None and the value where it is no list."""


_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 16


class UnreadableJsonError(InputError):
    """A file that is missing, is not JSON, or has not the form that can be streamed."""


def stream_json(path: Path) -> Iterator[Item]:
    """Yield the entries of a file in its order; no more than one of them and a chunk of the text are in memory.

    Raises:
        UnreadableJsonError: If the file is missing, is not JSON, is not an object, has a key twice, or has an entry of
            more than ``MAX_ENTRY`` characters.

    Example:
        >>> list(stream_json(Path("people.json")))  # doctest: +SKIP
        [('images', None, []), ('images', 0, {'id': 7}), ('info', None, {'year': 2017})]
    """
    try:
        require_regular(path)
    except InputError as error:
        raise UnreadableJsonError(str(error)) from None
    try:
        with path.open(encoding="utf-8-sig") as file:  # a byte order mark, as editors of Windows write, is no error
            yield from _Scanner(path, file).items()
    except FileNotFoundError:
        raise UnreadableJsonError(f"{path}: no such file") from None
    except OSError as error:
        raise UnreadableJsonError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} is not UTF-8"
        raise UnreadableJsonError(f"{path}: is not JSON ({byte}); save it as UTF-8") from None


class _Scanner:
    """A position in a text of which only a window is in memory."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._file = file
        self._decoder = json.JSONDecoder()
        self._window = ""
        self._position = 0
        self._before = 0
        self._at_end = False

    def items(self) -> Iterator[Item]:
        if self._peek() != "{":
            raise UnreadableJsonError(f"{self._path}: the file is not an object")
        seen: set[str] = set()
        for _ in self._members("}"):
            key = self._value() if self._peek() == '"' else self._fail("a key is expected")
            if key in seen:
                raise UnreadableJsonError(f"{self._path}: has the key {key!r} twice")
            seen.add(key)
            self._take(":")
            if self._peek() == "[":
                yield key, None, []
                for position in self._members("]"):
                    yield key, position, self._value()
            else:
                yield key, None, self._value()
        if self._peek():
            self._fail("the object is over")

    def _members(self, closing: str) -> Iterator[int]:
        """Step over the opening bracket, the commas and the closing bracket; yield the position of each member."""
        self._position += 1
        if self._peek() == closing:
            self._position += 1
            return
        position = 0
        while True:
            yield position
            position += 1
            if self._peek() == closing:
                self._position += 1
                return
            self._take(",")

    def _peek(self) -> str:
        """Step over white space and return the next character, or nothing at the end of the file."""
        while True:
            match = _SPACE.match(self._window, self._position)
            assert match
            self._position = match.end()
            if self._position < len(self._window) or self._at_end:
                return self._window[self._position : self._position + 1]
            self._read()

    def _take(self, character: str) -> None:
        if self._peek() != character:
            self._fail(f"{character!r} is expected")
        self._position += 1

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._position)
            except json.JSONDecodeError as error:
                if self._at_end or not self._is_cut_off(error):
                    self._fail(error.msg, error.pos)
            except (RecursionError, ValueError) as error:  # nested too deeply; an integer of thousands of digits
                self._fail(str(error))
            else:
                if end < len(self._window) - _LONGEST_TOKEN or self._at_end:  # else a number may go on
                    self._position = end
                    return value
            self._read()

    def _is_cut_off(self, error: json.JSONDecodeError) -> bool:
        """Say whether more text could mend an error: it is in the last token or in a string without an end."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._window) - _LONGEST_TOKEN

    def _read(self) -> None:
        """Drop what is behind the position, and read on: as much again, so that a long entry is not tried too often."""
        rest = self._window[self._position :]
        if len(rest) > MAX_ENTRY:
            self._fail(f"an entry has more than {MAX_ENTRY} characters")
        more = self._file.read(max(CHUNK, len(rest)))
        self._before += self._position
        self._window, self._position = rest + more, 0
        self._at_end = not more

    def _fail(self, reason: str, position: int | None = None) -> NoReturn:
        where = self._before + (self._position if position is None else position)
        raise UnreadableJsonError(f"{self._path}: is not JSON ({reason} at character {where})")
