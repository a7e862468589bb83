"""The document: whole, self-contained, and deaf to markup in what it is given."""

import json
from html.parser import HTMLParser

import altair as alt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.search.reporting.page.document import CODE, Page, render
from litepose_ofa.search.reporting.page.section import Block, Chart, Grid, Link, Picture, Section, Table

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>\"&{{ 7 * 7 }}"
VOID = {"meta", "img", "br", "hr", "link", "input"}
BASIC = Page("title", "lead", {"name": "value"}, [], [Section("only", "Only", ["text"])])


class Reader(HTMLParser):
    """Elements with their attributes and texts; fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(render(page))
    reader.close()
    assert reader.open == []
    return reader


def with_blocks(*blocks: Block) -> Page:
    return Page("title", "lead", {}, [], [Section("only", "Only", blocks)])


def chart_of(**columns: list[object]) -> alt.Chart:
    chart: alt.Chart = alt.Chart(pd.DataFrame(columns)).mark_point().encode(x="x:Q", tooltip="name:N")
    return chart.properties(width="container")


def test_every_text_stays_a_text() -> None:
    frame = pd.DataFrame({HOSTILE: [HOSTILE, Link(HOSTILE, HOSTILE)]})
    chart = Chart(chart_of(x=[1], name=[HOSTILE]), HOSTILE)
    blocks = (HOSTILE, [HOSTILE], Table(frame, HOSTILE), chart, Picture(b"jpeg", HOSTILE, HOSTILE))
    page = Page(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE], [Section("only", HOSTILE, blocks)])
    reader = read(page)
    assert len(reader.of("script")) == 3, "Vega, the data of the chart, and what draws it"
    assert [picture["src"] for picture in reader.of("img")] == ["data:image/jpeg;base64,anBlZw=="]
    shown = [text for tag, text in reader.texts if tag not in ("script", "style")]
    assert sum(HOSTILE in text for text in shown) == 8 + 8, "eight about the page and its section, eight in blocks"
    (spec,) = [json.loads(text) for tag, text in reader.texts if tag == "script" and text.startswith("{")]
    assert next(iter(spec["datasets"].values())) == [{"x": 1, "name": HOSTILE}]
    assert spec["description"] == HOSTILE


@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip))
@settings(max_examples=50, deadline=None)
def test_a_paragraph_is_read_as_it_was_written(text: str) -> None:
    reader = read(Page("title", "lead", {}, [], [Section("only", "Only", [text])]))
    heading = max(i for i, (tag, _) in enumerate(reader.texts) if tag == "h2")
    assert "".join(part for _, part in reader.texts[heading + 1 :]) == CODE.sub(r"\1", text)


def test_the_contents_lead_to_every_section() -> None:
    sections = [Section(anchor, anchor.upper(), ["text"]) for anchor in ("a", "b-2")]
    reader = read(Page("title", "lead", {}, [], sections))
    links = [link["href"] for link in reader.of("a")]
    assert links == ["#content", "#a", "#b-2"]
    identifiers = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    assert {link.removeprefix("#") for link in links if link} <= set(identifiers)
    assert reader.of("html") == [{"lang": "en"}]
    labelled = [section["aria-labelledby"] for section in reader.of("section")]
    assert set(labelled) <= set(identifiers)


def test_nothing_is_asked_of_a_network() -> None:
    page = with_blocks(Chart(chart_of(x=[1], name=["a"]), "a chart"), Picture(b"x", "a picture", "it"))
    reader = read(page)
    (policy,) = [meta["content"] for meta in reader.of("meta") if "http-equiv" in meta]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert reader.of("link") == []
    for _, attributes in reader.elements:
        assert not {"href", "src"} & attributes.keys() or str(attributes.get("src", "data:")).startswith("data:")
    assert "@import" not in render(page)
    assert "url(" not in render(page).partition("</style>")[0]


def test_vega_is_there_once_and_only_for_charts() -> None:
    chart = Chart(chart_of(x=[1], name=["a"]), "a chart")
    assert "vegaEmbed" not in render(BASIC)
    assert len(render(BASIC)) < 20_000
    one, two = (len(render(with_blocks(*blocks))) for blocks in ((chart,), (chart, Grid([chart, chart]))))
    assert 500_000 < one < 1_500_000
    assert two - one < 20_000
    assert len(render(with_blocks(Grid([chart])))) > 500_000, "a chart inside a grid is one too"


def test_blocks() -> None:
    frame = pd.DataFrame({"device": ["pi", "nano"], "ms": ["~12.5 (11-14)", None], "to": [Link("x", "../x/"), 3]})
    reader = read(with_blocks(Table(frame, "listed"), ["one `code`", "two"]))
    assert [text for tag, text in reader.texts if tag == "td"] == ["pi", "~12.5 (11-14)", "nano", "\N{EN DASH}", "3"]
    assert [cell.get("class") for cell in reader.of("td")] == [None, "number", None, None, "number", "number"]
    assert "../x/" in [link["href"] for link in reader.of("a")]
    (box,) = [box for box in reader.of("div") if box.get("class") == "scroll"]
    assert (box["tabindex"], box["role"], box["aria-label"]) == ("0", "region", "listed")
    assert ("code", "code") in reader.texts


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT])
def test_what_is_not_known_is_a_dash(missing: object) -> None:
    frame = pd.DataFrame({"a": [missing, 1.5]}, dtype=object)
    reader = read(with_blocks(Table(frame, "listed")))
    assert [text for tag, text in reader.texts if tag == "td"] == ["\N{EN DASH}", "1.5"]
