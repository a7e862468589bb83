"""Links and pictures of README and docs: every relative one leads somewhere, on any Markdown viewer."""

import re
import string
from pathlib import Path

_FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_DROPPED = str.maketrans("", "", string.punctuation.replace("-", "").replace("_", ""))


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in _HEADING.findall(_FENCE.sub("", markdown)))
    return {title.lower().translate(_DROPPED).replace(" ", "-") for title in headings}


def test_every_link_and_picture_resolves(page: str, root: Path) -> None:
    path = root / page
    markdown = path.read_text(encoding="utf-8")
    wrong = []
    for target in _LINK.findall(_CODE.sub("", _FENCE.sub("", markdown))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path if not file else path.parent / file
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            wrong.append(target)
    assert wrong == []


def test_no_picture_is_unused(root: Path) -> None:
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    told = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert [picture.name for picture in (root / "docs" / "images").iterdir() if picture.name not in told] == []
