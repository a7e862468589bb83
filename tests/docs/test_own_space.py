"""The guide to search spaces: its two spellings of a space agree, and its worked diff applies and holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from litepose_ofa.supernet.archs.space import SearchSpace

PAGE = "docs/own_space.md"
PATCH = "docs/examples/head_kernel.patch"

COPIED = ("conf", "latency_tables", "litepose_ofa", "scripts", "search", "supernet", "tests", "pyproject.toml")
HOLDS = (
    "tests/test_head_kernel.py",
    "tests/test_import_direction.py",
    *(f"tests/supernet/archs/test_{name}.py" for name in ("arch", "space", "complexity")),
    *(f"tests/supernet/network/test_{name}.py" for name in ("litepose", "extract")),
    "tests/search/test_genome.py",
    "tests/search/costs",
    "tests/search/trust/test_sensitivity.py",
    "tests/search/study/test_study.py",
    "tests/latency_tables/test_coverage.py",
)
"""What the changed tree must pass: the patch's own tests, and those of the modules that it changes or relies on."""


@pytest.fixture(scope="module")
def texts(all_blocks: list[Any]) -> dict[str, list[str]]:
    """The blocks of the page by their language."""
    texts: dict[str, list[str]] = {}
    for block in all_blocks:
        if block.page == PAGE:
            texts.setdefault(block.language, []).append(block.text)
    return texts


def run(*command: str, cwd: Path) -> None:
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(cwd.parent)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_python_of_the_page_is_the_same_space(texts: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = texts["python"]
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert namespace["space"] == SearchSpace.from_dict(yaml.safe_load(texts["yaml"][0]))
    assert capsys.readouterr().out.strip() == code.rpartition("# ")[2].strip()


def test_the_page_shows_the_patch_and_names_its_files(texts: Any, root: Path) -> None:
    def lines(text: str) -> str:
        return "\n".join(["", *map(str.rstrip, text.splitlines()), ""])

    patch, page = (root / PATCH).read_text(), (root / PAGE).read_text()
    assert len(texts["diff"]) >= 8
    assert [shown for shown in texts["diff"] if lines(shown) not in lines(patch)] == []
    assert [path for path in re.findall(r"^\+\+\+ b/(.+)$", patch, re.MULTILINE) if Path(path).name not in page] == []


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_patch_applies(root: Path) -> None:
    run("git", "apply", "--check", str(root / PATCH), cwd=root)


@pytest.mark.slow
def test_the_changed_tree_holds(root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in COPIED:
        if (root / name).is_dir():
            made = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / name, tree / name, symlinks=True, ignore=made)
        else:
            shutil.copy(root / name, tree)
    run("git", "apply", str(root / PATCH), cwd=tree)
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *HOLDS, cwd=tree)
