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
def blocks_of_page(all_blocks: list[Any]) -> list[Any]:
    return [block for block in all_blocks if block.page == PAGE]


@pytest.fixture(scope="module")
def written_space(blocks_of_page: list[Any]) -> str:
    text = next(block.text for block in blocks_of_page if block.language == "yaml")
    return str(text)


def git_apply(root: Path, patch: Path, *options: str) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    done = subprocess.run(
        ["git", "apply", *options, str(patch)], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{PATCH} no longer applies; make the change again and write it anew\n{done.stderr}"


def stripped_lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def run_module(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_python_of_the_page_is_the_same_space(
    blocks_of_page: list[Any], written_space: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (block.text for block in blocks_of_page if block.language == "python")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert namespace["space"] == SearchSpace.from_dict(yaml.safe_load(written_space))
    assert capsys.readouterr().out.strip() == code.rpartition("# ")[2].strip()


def test_every_diff_of_the_page_is_in_the_patch(blocks_of_page: list[Any], root: Path) -> None:
    lines = stripped_lines((root / PATCH).read_text())
    diffs = [stripped_lines(block.text) for block in blocks_of_page if block.language == "diff"]
    assert len(diffs) >= 8
    for shown in diffs:
        starts = (start for start, line in enumerate(lines) if line == shown[0])
        assert any(lines[start : start + len(shown)] == shown for start in starts), "\n".join(shown)


def test_the_page_names_every_file_of_the_patch(root: Path) -> None:
    page = (root / PAGE).read_text()
    for path in re.findall(r"^\+\+\+ b/(.+)$", (root / PATCH).read_text(), re.MULTILINE):
        assert Path(path).name in page, path


def test_the_patch_applies(root: Path) -> None:
    git_apply(root, root / PATCH, "--check")


@pytest.mark.slow
def test_the_changed_tree_holds(root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree)
    git_apply(tree, root / PATCH)
    run_module(tree, "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *HOLDS)
