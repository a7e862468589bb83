"""The site that Sphinx makes of the docs: it builds without a warning, and every page is in its navigation."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="the site needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    options = ["-q", "-W", "--keep-going", "-d", str(out / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(root / "docs"), str(out / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out / "html"


def test_every_page_is_built_and_reached_from_the_start(site: Path, root: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in (root / "docs").rglob("*.md"):
        name = page.relative_to(root / "docs").with_suffix(".html")
        if name.parts[0] != "examples":
            assert (site / name).exists()
            assert f'href="{name}"' in start or name.stem == "index", name
    assert "searchbox" in (site / "search.html").read_text(encoding="utf-8"), "no guide is under the name of this page"
