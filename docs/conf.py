"""Sphinx settings: the pages are plain Markdown, and the navigation is that of ``index.md``.

``sphinx-build -W docs build/docs`` builds the site.
"""

import re
from importlib.metadata import version as installed_version

from sphinx.application import Sphinx

project = "litepose-ofa"
version = release = installed_version(project)
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_use_rtype = False
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]
pygments_style = "friendly"
pygments_dark_style = "monokai"

_SECTION = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)
_PAGE = re.compile(r"^[-|].*?\]\((?P<page>[\w/]+)\.md\)", re.MULTILINE)


def navigation(markdown: str) -> str:
    """Return hidden tables of contents, one a section: the first page that each of its list items links to."""
    _, *parts = _SECTION.split(markdown)
    sections = zip(parts[::2], map(_PAGE.findall, parts[1::2]), strict=True)
    return "\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"])
        for title, pages in sections
        if pages
    )


def without_outside_links(markdown: str, *, depth: int) -> str:
    """Return a page so many folders deep with the text alone of links to what the site does not hold."""
    return re.sub(rf"\[([^\]]+)\]\((?:\.\./){{{depth + 1}}}[^)]*\)", r"\1", markdown)


def _adapt(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = without_outside_links(source[0], depth=page.count("/"))
    if page == "index":
        source[0] += f"\n{navigation(source[0])}\n"


def setup(app: Sphinx) -> None:
    """Add here what is Sphinx's alone, so that the pages are for any Markdown viewer."""
    app.connect("source-read", _adapt)
