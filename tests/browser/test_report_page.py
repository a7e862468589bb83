"""The report in a real browser: it opens from a file without a network, answers a pointer, fits a phone, prints."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SMALL_SEARCH = (
    "evaluator=published", "dataset=crowdpose", "space=litepose_released", "search.first=30", "search.batch=20",
    "search.generations=1", "search.evolution.population=20", "search.evolution.generations=3", "threads=1",
)  # fmt: skip
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
HOSTILE_TIER = "<img src=x onerror=console.error(1)>"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed"),
]


@dataclass
class Opened:
    """A page in the browser, and what it said and asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hover(self, chart: Any, *words: str) -> Any:
        """Point at the first mark of a chart whose label has all words; return the tooltip that appears."""
        chart.scroll_into_view_if_needed()
        points = chart.locator("path[aria-roledescription=point]").all()
        labels = (str(point.get_attribute("aria-label")) for point in points)
        found = (point for point, label in zip(points, labels, strict=True) if all(word in label for word in words))
        next(found).hover(force=True)
        tooltip = self.page.locator("#vg-tooltip-element.visible")
        tooltip.wait_for(timeout=5000)
        return tooltip


Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep over two devices and two tiers, one of them with a hostile name."""
    workspace = tmp_path_factory.mktemp("run")
    sweep = ("--multirun", "device=jetson_nano,raspberry_pi_4b", "tier=s,l")
    run_script("search", *sweep, *SMALL_SEARCH, f"workspace={workspace}")
    (workspace / "search" / "jetson_nano" / "s").rename(workspace / "search" / "jetson_nano" / HOSTILE_TIER)
    run_script("report", str(workspace), "samples=0")
    return workspace / "report" / "report.html"


@pytest.fixture(scope="module")
def open_report(report: Path) -> Iterator[Open]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))

        @contextmanager
        def open_page(**settings: Any) -> Iterator[Opened]:
            context = browser.new_context(**{"viewport": DESKTOP, "offline": True, **settings})
            opened = Opened(context.new_page())
            opened.page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
            opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
            opened.page.on("request", lambda request: opened.requests.append(request.url))
            opened.page.goto(report.as_uri())
            opened.page.wait_for_selector("html[data-charts=drawn]", timeout=60_000)
            yield opened
            context.close()

        yield open_page
        browser.close()


def run_script(name: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "litepose_ofa", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_opens_quietly_and_asks_for_nothing_else(open_report: Open, report: Path) -> None:
    with open_report() as opened:
        assert opened.complaints == []
        assert opened.requests == [report.as_uri()]
        drawn = opened.page.evaluate(
            "Array.from(document.querySelectorAll('figure.chart'), f => !!f.querySelector('svg'))"
        )
        assert len(drawn) >= 6
        assert all(drawn)
        assert opened.page.title() == "LitePose subnets for jetson_nano, raspberry_pi_4b"
        assert opened.page.get_by_role("cell", name=HOSTILE_TIER).count() == 1
        assert opened.page.locator("img").count() == 0
        plots = opened.page.locator("figure.chart [role=graphics-document]")
        labels = plots.evaluate_all("plots => plots.map(plot => plot.getAttribute('aria-label'))")
        assert labels == opened.page.locator("figure.chart figcaption").all_inner_texts(), "for who cannot see them"
    assert report.stat().st_size < 5e6


def test_a_pointer_on_a_subnet_is_told_what_it_is(open_report: Open) -> None:
    with open_report() as opened:
        charts = opened.page.locator("#fronts figure.chart")
        told = opened.hover(charts.nth(1), "chosen", "tier: l").inner_text()
        for expected in ("tier", "AP", "latency", "~", "80 % interval", "resolution", "px", "blocks a stage", "MACs"):
            assert expected in told
        tooltip = opened.hover(charts.first, HOSTILE_TIER)
        assert HOSTILE_TIER in tooltip.inner_text()
        assert (tooltip.locator("img").count(), opened.complaints, len(opened.requests)) == (0, [], 1)


def test_it_follows_a_change_of_width_and_a_phone_scrolls_in_one_direction(open_report: Open) -> None:
    with open_report() as opened:
        assert opened.page.locator("#fronts .plot svg").first.bounding_box()["width"] > 800
        opened.page.set_viewport_size(PHONE)
        opened.page.wait_for_function("document.querySelector('#fronts .plot svg').getBoundingClientRect().width < 360")
    with open_report(viewport=PHONE) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        widths = opened.page.evaluate(
            "Array.from(document.querySelectorAll('.plot svg'), s => s.getBoundingClientRect().right)"
        )
        assert max(widths) <= PHONE["width"]
        box = opened.page.locator("#summary .scroll")
        assert box.evaluate("box => box.scrollWidth > box.clientWidth"), "the table scrolls inside its own box"


def test_the_keyboard_reaches_contents_and_wide_tables(open_report: Open) -> None:
    with open_report() as opened:
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.getAttribute('href')") == "#content"
        reached = set()
        focused = "document.activeElement.getAttribute('href') || document.activeElement.className"
        for _ in range(40):
            opened.page.keyboard.press("Tab")
            reached.add(opened.page.evaluate(focused))
        assert {"#summary", "#fronts", "scroll"} <= reached


def test_it_prints_with_every_heading(open_report: Open) -> None:
    with open_report(color_scheme="dark") as opened:
        printed = opened.page.pdf(format="A4", tagged=True, outline=True)
        opened.page.emulate_media(media="print")
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert opened.page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type ?/Page\b", printed)) >= 3
    titles = re.findall(rb"/Title \(([^)]*)\)", printed)
    assert {b"Summary", b"Pareto fronts", b"Chosen subnets", b"Course of the searches"} <= set(titles)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_take_the_pages_ink(open_report: Open, scheme: str) -> None:
    with open_report(color_scheme=scheme) as opened:
        ink = opened.page.evaluate("getComputedStyle(document.body).color")
        assert (ink == "rgb(27, 31, 36)") == (scheme == "light")
        label = opened.page.locator("#fronts .plot svg .role-axis-label text").first
        assert label.evaluate("label => getComputedStyle(label).fill") == ink
