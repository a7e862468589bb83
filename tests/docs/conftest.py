"""Markdown as the tests of it read it: fenced blocks with their marks, and the commands in them.

A mark is an HTML comment on the line before a block: commands after ``<!-- needs: a board -->`` are composed, not run,
and ``<!-- file: path -->`` gives a block the name of the file that the commands after it find.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/results/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)
GENERATED = "docs/reference/"
TUTORIAL = "docs/tutorial.md"

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>needs|file): (?P<value>[^\n]+?) -->\n\s*)?"
    r"^ *```(?P<language>[^\n`]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_INLINE = re.compile(r"(?<!`)`((?:litepose|python scripts/\S+)\s+(?!-)[^`]*=[^`]+)`(?!`)")
_SCRIPT = re.compile(r"scripts/(\w+)\.py$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page, from the root of the source tree.
        line: Number of its first line of text.
        language: What stands behind the fence.
        text: What it holds.
        marks: Its mark's kind, with what the mark says.
    """

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def needs(self) -> str | None:
        """What it needs beyond this machine and a few minutes, or None."""
        return self.marks.get("needs")

    @property
    def runs(self) -> bool:
        """Whether it is Python that needs nothing."""
        return self.language == "python" and self.needs is None


@dataclass(frozen=True)
class Command:
    """A shell command of a page.

    Attributes:
        page: Its page.
        line: Number of the line where its block starts, or of its own.
        words: It, split as a shell does.
        needs: What it needs beyond this machine and a few minutes, or None.
    """

    page: str
    line: int
    words: tuple[str, ...]
    needs: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"

    @property
    def verb(self) -> str | None:
        """The verb of ``litepose``, or the script, that it starts; None if it is another program's."""
        return self._program[0]

    @property
    def runs(self) -> bool:
        """Whether it is one of ours and needs nothing."""
        return self.verb is not None and self.needs is None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the verb."""
        return self._program[1]

    @property
    def _program(self) -> tuple[str | None, tuple[str, ...]]:
        for position, word in enumerate(self.words):
            script = _SCRIPT.search(word)
            if script:
                return script[1], self.words[position + 1 :]
            if word == "litepose" and len(self.words) > position + 1:
                return self.words[position + 1], self.words[position + 2 :]
        return None, ()


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        marks = {found["mark"]: found["value"]} if found["mark"] else {}
        yield Block(page, line, found["language"], found["text"], marks)


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of a page's ``bash`` blocks in order."""
    for block in blocks(page):
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                for words in _split(line):
                    yield Command(page, block.line, words, block.needs)


def inline_commands(page: str) -> Iterator[Command]:
    """Yield the commands with arguments that stand as code in a page's sentences and tables, none left out by dots."""
    text = (ROOT / page).read_text(encoding="utf-8")
    outside = _BLOCK.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in _INLINE.finditer(outside):
        line = outside.count("\n", 0, found.start()) + 1
        if "..." not in found[1]:
            yield Command(page, line, tuple(shlex.split(found[1].replace("\n", " "))), "stands in a sentence")


def _split(line: str) -> Iterator[tuple[str, ...]]:
    """Split a line at what joins commands."""
    words: list[str] = []
    for word in shlex.split(line, comments=True):
        if word in ("&&", "|", ";"):
            yield tuple(words)
            words = []
        else:
            words.append(word)
    if words:
        yield tuple(words)


WRITTEN = tuple(page for page in PAGES if GENERATED not in page)
COMMANDS = [command for page in WRITTEN for command in commands(page)]
COMPOSED = [*COMMANDS, *(command for page in WRITTEN for command in inline_commands(page))]
BLOCKS = [block for page in WRITTEN for block in blocks(page)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test every page, or every one that has what it runs."""
    pages = {
        "page": PAGES,
        "running_page": [
            page for page in WRITTEN if page != TUTORIAL and any(command.runs for command in commands(page))
        ],
        "python_page": [page for page in WRITTEN if any(block.runs for block in blocks(page))],
    }
    for name in pages.keys() & metafunc.fixturenames:
        metafunc.parametrize(name, pages[name])


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shown_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages show."""
    folder = tmp_path_factory.mktemp("shown")
    for block in BLOCKS:
        if "file" in block.marks:
            path = folder / block.marks["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def all_commands() -> list[Command]:
    """The commands of all blocks."""
    return COMMANDS


@pytest.fixture(scope="session")
def composed_commands() -> list[Command]:
    """The commands of all blocks, and those in sentences."""
    return COMPOSED


@pytest.fixture(scope="session")
def all_blocks() -> list[Block]:
    """The blocks of all pages that people wrote."""
    return BLOCKS
