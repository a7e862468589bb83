"""The site that Sphinx makes of the docs: it builds without a warning, and every page is in its navigation."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHROMIUM = Path("/usr/bin/chromium")
WIDER_THAN_THE_PAGE = """
    [...document.querySelectorAll(".table-wrapper")]
        .filter(wrapper => wrapper.scrollWidth > wrapper.clientWidth + 2)
        .map(wrapper => wrapper.innerText.slice(0, 60))
"""


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="the site needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "doctrees")]
    done = subprocess.run(
        [*command, str(root / "docs"), str(out / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_every_page_is_built_and_reached_from_the_start(site: Path, root: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in (root / "docs").rglob("*.md"):
        name = page.relative_to(root / "docs").with_suffix(".html")
        if name.parts[0] != "examples":
            assert (site / name).exists()
            assert f'href="{name}"' in start or name.stem == "index", name


def test_pictures_are_in_it_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    how = (site / "how_it_works.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]* src="([^"]+)"', how)
    assert pictures
    assert all((site / picture).exists() for picture in pictures)
    assert not re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="https?:', how)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")
def test_what_the_keys_mean_is_in_sight(site: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, offline=True)
        for name in ("commands", "groups"):
            page.goto((site / "reference" / f"{name}.html").as_uri())
            assert page.evaluate(WIDER_THAN_THE_PAGE) == []
        browser.close()


def test_the_search_guide_is_not_under_the_name_of_the_search_page(site: Path) -> None:
    assert "searchbox" in (site / "search.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def settings(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_conf", root / "docs" / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_navigation_is_that_of_the_index(settings: ModuleType) -> None:
    markdown = "# Top\n\n## One\n\n- [A](a.md): see [B](b.md)\n\n## Two\n\ntext\n\n## Three\n\n- [C](d/c.md)\n"
    assert settings.navigation(markdown) == (
        "```{toctree}\n:hidden:\n:caption: One\n\na\n```\n```{toctree}\n:hidden:\n:caption: Three\n\nd/c\n```"
    )


def test_links_that_leave_the_site_become_text(settings: ModuleType) -> None:
    markdown = "[a](../README.md), [b](b.md#c), [d](../other/d.md), [e](../e.md)"
    assert settings.without_outside_links(markdown, depth=0) == "a, [b](b.md#c), d, e"
    assert settings.without_outside_links(markdown, depth=1) == markdown
    assert settings.without_outside_links("[f](../../f.md)", depth=1) == "f"
