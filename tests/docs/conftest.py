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
WRITTEN = tuple(page for page in PAGES if not page.startswith("docs/reference/"))
TUTORIAL = "docs/tutorial.md"

_BLOCK = re.compile(
    r"(?:^ *<!-- (?:needs: (?P<needs>[^\n]+?)|file: (?P<file>[^\n]+?)) -->\n\s*)?"
    r"^ *```(?P<language>[^\n`]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_INLINE = re.compile(r"(?<!`)`(litepose\s+(?!-)[^`]*=[^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block: the line where its text starts, and its mark: what it needs, or the file that it is."""

    page: str
    line: int
    language: str
    text: str
    needs: str | None
    file: str | None


@dataclass(frozen=True)
class Command:
    """A command of a page, split as a shell does, and what it needs beyond this machine and a few minutes."""

    page: str
    line: int
    words: tuple[str, ...]
    needs: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"

    @property
    def verb(self) -> str | None:
        """The verb of ``litepose`` that it starts; None if it is another program's."""
        position = self.words.index("litepose") + 1 if "litepose" in self.words else len(self.words)
        return self.words[position] if position < len(self.words) else None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the verb."""
        return self.words[self.words.index("litepose") + 2 :]

    @property
    def runs(self) -> bool:
        return self.verb is not None and self.needs is None


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(page, text.count("\n", 0, found.start("text")) + 1, **found.groupdict())


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block, split at what joins them."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word not in ("&&", "|", ";"):
                words.append(word)
            elif words:
                yield Command(block.page, block.line, tuple(words), block.needs)
                words = []


def inline_commands(page: str) -> Iterator[Command]:
    """Yield the commands with arguments that stand as code in a page's sentences and tables, none left out by dots."""
    text = (ROOT / page).read_text(encoding="utf-8")
    outside = _BLOCK.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in _INLINE.finditer(outside):
        if "..." not in found[1]:
            line = outside.count("\n", 0, found.start()) + 1
            yield Command(page, line, tuple(shlex.split(found[1].replace("\n", " "))), "stands in a sentence")


BLOCKS = [block for page in WRITTEN for block in blocks(page)]
COMMANDS = [
    *(command for block in BLOCKS if block.language == "bash" for command in commands(block)),
    *(command for page in WRITTEN for command in inline_commands(page)),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test every page, or every one that has what it runs."""
    pages = {
        "page": PAGES,
        "running_page": dict.fromkeys(each.page for each in COMMANDS if each.runs and each.page != TUTORIAL),
        "python_page": dict.fromkeys(each.page for each in BLOCKS if each.language == "python" and not each.needs),
    }
    for name in pages.keys() & metafunc.fixturenames:
        metafunc.parametrize(name, list(pages[name]))


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shown_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages show."""
    folder = tmp_path_factory.mktemp("shown")
    for block in BLOCKS:
        if block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def all_commands() -> list[Command]:
    """The commands of all blocks, then those in sentences."""
    return COMMANDS


@pytest.fixture(scope="session")
def all_blocks() -> list[Block]:
    """The blocks of all pages that people wrote."""
    return BLOCKS
