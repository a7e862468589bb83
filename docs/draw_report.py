"""Draws ``images/report.png``: of a report, in a browser, the last front and the subnets chosen for the first device.

    python docs/draw_report.py runs/litepose-people/report/report.html

It is in the docs of the searches that ``searching.md`` begins with.
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from supernet.files import replacing

PICTURE = Path(__file__).parent / "images" / "report.png"
CHROMIUM = "/usr/bin/chromium"
VIEWPORT = {"width": 1100, "height": 900}
"""In pixels."""


def photograph(report: Path) -> bytes:
    """Return the part of a report, its charts drawn, as a PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=VIEWPORT, offline=True, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-charts=drawn]")
        top, bottom = _edge(page, "#fronts figure >> nth=-1", "top"), _edge(page, "#subnets figure >> nth=0", "bottom")
        clip = {"x": 0, "y": top, "width": VIEWPORT["width"], "height": bottom - top}
        picture: bytes = page.screenshot(full_page=True, clip=clip)
        browser.close()
    return picture


def _edge(page: Page, selector: str, side: str) -> float:
    return float(page.locator(selector).evaluate(f"each => each.getBoundingClientRect().{side}"))


def main() -> None:
    """Draw it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/draw_report.py REPORT.html")
    picture = photograph(Path(sys.argv[1]))
    with replacing(PICTURE) as temporary:
        temporary.write_bytes(picture)


if __name__ == "__main__":
    main()
