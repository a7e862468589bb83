"""Draws pictures of reports, as a browser shows them, for the docs.

    python docs/draw_report.py demo runs/tiny-people/report/report.html            # images/demo_report.png
    python docs/draw_report.py searches runs/litepose-people/report/report.html    # images/report.png

``demo`` is the beginning of the report that ``make demo`` ends with, its first front included; ``searches`` the last
front and the subnets of the first device, of the searches that ``searching.md`` begins with.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import FloatRect, Page, ViewportSize, sync_playwright

from litepose_ofa.supernet.files import replacing

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
VIEWPORT: ViewportSize = {"width": 1100, "height": 900}
"""In pixels."""


def photograph(report: Path, part: Callable[[Page], tuple[float, float]]) -> bytes:
    """Return a part of a report, its charts drawn, as a PNG.

    Args:
        report: The page.
        part: Says where the part begins and ends, in pixels from the top.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=VIEWPORT, offline=True, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-charts=drawn]")
        top, bottom = part(page)
        clip: FloatRect = {"x": 0, "y": top, "width": VIEWPORT["width"], "height": bottom - top}
        picture: bytes = page.screenshot(full_page=True, clip=clip)
        browser.close()
    return picture


def _beginning(page: Page) -> tuple[float, float]:
    return 0, _edge(page, "#fronts figure >> nth=0", "bottom")


def _last_front_and_subnets(page: Page) -> tuple[float, float]:
    return _edge(page, "#fronts figure >> nth=-1", "top"), _edge(page, "#subnets figure >> nth=0", "bottom")


def _edge(page: Page, selector: str, side: str) -> float:
    return float(page.locator(selector).evaluate(f"each => each.getBoundingClientRect().{side}"))


PICTURES = {"demo": ("demo_report.png", _beginning), "searches": ("report.png", _last_front_and_subnets)}


def main() -> None:
    """Draw the one that is named."""
    if len(sys.argv) != 3 or sys.argv[1] not in PICTURES:
        sys.exit(f"usage: python docs/draw_report.py {'|'.join(PICTURES)} REPORT.html")
    name, part = PICTURES[sys.argv[1]]
    picture = photograph(Path(sys.argv[2]), part)
    with replacing(IMAGES / name) as temporary:
        temporary.write_bytes(picture)


if __name__ == "__main__":
    main()
