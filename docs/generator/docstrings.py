"""Google-style docstrings as Markdown."""

import re
from collections.abc import Iterator

LISTED = ("Args", "Attributes", "Raises")
TOLD = ("Returns", "Yields")
EXAMPLE = ("Example", "Examples")
_HEADING = re.compile(rf"^({'|'.join((*LISTED, *TOLD, *EXAMPLE))}):$")
_ENTRY = re.compile(r"^(\*{0,2}[\w.]+): (.*)$")
_SHIFT = 4


def to_markdown(docstring: str) -> str:
    """Return a docstring, dedented, as Markdown: arguments as lists, examples as code."""
    return "\n\n".join(filter(None, (_section(name, lines) for name, lines in _sections(docstring))))


def _sections(docstring: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    for line in docstring.splitlines():
        heading = _HEADING.match(line)
        if heading:
            yield name, lines
            name, lines = heading[1], []
        elif name and line and not line.startswith(" "):
            yield name, lines
            name, lines = "", [line]
        else:
            lines.append(line[_SHIFT:] if name else line)
    yield name, lines


def _section(name: str, lines: list[str]) -> str:
    text = "\n".join(lines).strip("\n")
    if name in EXAMPLE:
        return f"```pycon\n{text}\n```"
    text = text.replace("``", "`")
    if name in LISTED:
        return f"**{name}**\n\n{_entries(text)}"
    return f"**{name}** {_joined(text)}" if name else text


def _entries(text: str) -> str:
    entries: list[str] = []
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            entries.append(f"- `{entry[1]}`: {entry[2]}")
        elif entries:
            entries[-1] += f" {line.strip()}"
    return "\n".join(entries)


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines())
