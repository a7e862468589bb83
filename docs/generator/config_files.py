"""What a config file says of itself: its head, its groups, and every key with default and comment."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: +(?P<value>[^#\s].*?))?(?: +# (?P<comment>.*))?$")
_COMMENT = re.compile(r" *# ?(?P<text>.*)$")
_INDENT = 2


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a config.

    Attributes:
        name: Dotted, as an override names it.
        default: As the file writes it; None if it holds further keys.
        comment: What stands beside it, and on the lines after that go on with it.
        heading: What stands on the lines before it: it may be about several keys.
    """

    name: str
    default: str | None
    comment: str
    heading: str


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config file.

    Attributes:
        head: The comment that it begins with.
        groups: The default option of each group that it composes.
        builds_on: The other configs that it takes its keys from.
        keys: Its keys in order.
    """

    head: str
    groups: dict[str, Any]
    builds_on: tuple[str, ...]
    keys: tuple[Key, ...]


def read_config(path: Path) -> ConfigFile:
    """Read a config of Hydra's with its comments."""
    text = path.read_text(encoding="utf-8")
    head = re.match(r"(?:#.*\n)*", text)
    assert head is not None
    defaults = (yaml.safe_load(text) or {}).get("defaults", [])
    named = (pair for entry in defaults if isinstance(entry, dict) for pair in entry.items())
    groups = {name.removeprefix("optional "): option for name, option in named}
    builds_on = tuple(entry for entry in defaults if isinstance(entry, str) and entry != "_self_")
    said = re.sub(r"^# ?", "", head[0], flags=re.MULTILINE).strip()
    return ConfigFile(said, groups, builds_on, tuple(_keys(text[head.end() :])))


def _keys(text: str) -> Iterator[Key]:
    parents: list[str] = []
    before: list[str] = []
    lines = [line for line in text.splitlines() if line.strip()]
    for position, line in enumerate(lines):
        found, comment = _KEY.match(line), _COMMENT.match(line)
        if found:
            parents[len(found["indent"]) // _INDENT :] = [found["name"]]
            beside = [found["comment"] or "", *_continued(lines, position)]
            if parents[0] not in ("defaults", "hydra"):
                yield Key(".".join(parents), found["value"], " ".join(filter(None, beside)), " ".join(before))
            before = []
        elif comment and not _continues(lines, position):
            before.append(comment["text"])


def _continued(lines: list[str], position: int) -> Iterator[str]:
    """Yield the comments on the lines after a key that go on with the comment beside it."""
    for later in range(position + 1, len(lines)):
        if not _continues(lines, later):
            return
        yield lines[later].strip(" #")


def _continues(lines: list[str], position: int) -> bool:
    """Say whether a line is a comment in the column of the one above it, which stands beside a key."""
    line = lines[position]
    if not line.lstrip().startswith("#") or position == 0:
        return False
    above = lines[position - 1]
    if above.lstrip().startswith("#"):
        return _continues(lines, position - 1) and above.index("#") == line.index("#")
    return above.rfind(" # ") + 1 == line.index("#") > 0
