"""Sections to one HTML file that needs nothing else: no server, no network, no file beside it."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from litepose_ofa.search.reporting.page.drawing import VL_VERSION, spec_of
from litepose_ofa.search.reporting.page.section import Link, Section, Table, charts_of

PAGE_FILE = "report.html"

TEMPLATE = "page.html.j2"

CODE = re.compile(r"`([^`]+)`")

NUMBER = re.compile(r"[~+\N{MINUS SIGN}-]?\d")
"""What a cell begins with that is set as a number: to the right, digits below digits."""

NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Page:
    """A document: heading, a sentence on what it is about, what it rests on, what to know first, and its parts."""

    title: str
    lead: str
    facts: Mapping[str, str]
    warnings: Sequence[str]
    sections: Sequence[Section]


def render(page: Page) -> str:
    """Return a page as HTML; every text is escaped."""
    has_charts = any(charts_of(section.blocks) for section in page.sections)
    return _environment().get_template(TEMPLATE).render(page=page, vega=_vega() if has_charts else "")


@cache
def _vega() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which defines ``vegaEmbed``."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VL_VERSION)
    return Markup(bundle.replace("</script", r"<\/script"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("litepose_ofa.search.reporting.page", "assets"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "inline": _inline,
        "spec": spec_of,
        "rows": _rows,
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
    }
    environment.tests |= {
        "link": lambda cell: isinstance(cell, Link),
        "number": lambda cell: cell == NOTHING or NUMBER.match(str(cell)),
    }
    environment.globals["kind"] = lambda block: type(block).__name__
    return environment


def _inline(text: str) -> Markup:
    """Escape a text, and set what stands between backticks as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def _rows(table: Table) -> list[list[Any]]:
    """Return the cells of a table; what is empty in the frame is a dash."""
    rows = table.frame.astype(object).where(table.frame.notna(), NOTHING)
    return rows.to_numpy().tolist()
