"""The wheel and the source archive: what they hold, and the command of an installed wheel, run from an empty folder."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("conf", "latency_tables", "scripts", "search", "supernet")
SOURCES = ("litepose_ofa", *FOLDERS, ".ci", "benchmarks", "docs", "tests")
SHIPPED = Path("supernet", "shipped")
Run = Callable[..., str]
MADE = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")

pytestmark = pytest.mark.slow


def files_below(folder: Path) -> set[str]:
    """Name the files of a folder, without what Python and setuptools make."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, _stand_in: Path) -> Path:
    """A copy of the source tree; where it ships no networks yet, with those of random weights in their place."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=MADE, symlinks=True)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)
    if not (source / SHIPPED).exists():
        shutil.copytree(_stand_in, source / SHIPPED)
    return source


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """A folder with the source archive, and the wheel built from it."""
    if any(importlib.util.find_spec(name) is None for name in ("build", "setuptools")):
        pytest.skip("building needs the packages build and setuptools")
    made = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A virtual environment with the wheel, and this environment's packages behind it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    behind = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site_packages / "behind.pth").write_text("\n".join([*behind, ""]))
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Run the installed command in an empty folder, the test's ``tmp_path``."""

    def start(program: str, *arguments: str, **variables: str) -> str:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        env = {**kept, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **variables}
        command = [str(installed / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    return start


def test_the_wheel_is_one_package_with_every_file_and_no_tests(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    own = {"__init__.py", "__main__.py", "py.typed"}
    files = {f"{folder}/{name}" for folder in FOLDERS for name in files_below(source / folder)}
    assert names == {f"litepose_ofa/{name}" for name in own | files}


def test_the_source_archive_has_the_tests_and_the_docs_too(distributions: Path, source: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    there = {f"{folder}/{name}" for folder in SOURCES[len(FOLDERS) + 1 :] for name in files_below(ROOT / folder)}
    assert there <= names
    assert {f"litepose_ofa/{folder}/{name}" for folder in FOLDERS for name in files_below(source / folder)} <= names
    assert {"Makefile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt"} <= names


def test_an_installed_wheel_is_what_runs_and_keeps_its_folder_as_it_was(
    run: Run, installed: Path, tmp_path: Path
) -> None:
    before = files_below(installed)
    code = "import litepose_ofa, litepose_ofa.search as s; print(litepose_ofa.__file__, s.__file__)"
    assert all(path.startswith(str(installed)) for path in run("python", "-c", code).split())
    assert "search" in run("litepose", "--help")
    assert "litepose-ofa 0." in run("litepose", "--version")
    assert "training.steps" in run("litepose", "train", "--help")
    assert "name: jetson_nano" in run("litepose", "search", "--cfg", "job", "device=jetson_nano")
    assert list(tmp_path.iterdir()) == []
    printed = run(
        *("litepose", "search", "-m", "evaluator=published", "space=litepose", "device=glob(*)", "tier=xs,l"),
        *("search.first=16", "search.batch=16", "search.generations=1", "search.evolution.generations=5"),
    )
    devices = {path.stem for path in (ROOT / "conf" / "device").glob("*.yaml")}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("chosen.json")}
    workspace = "runs/litepose-people/search"
    assert found == {f"{workspace}/{device}/{tier}/chosen.json" for device in devices for tier in ("xs", "l")}
    assert all(device in printed for device in devices)
    run("litepose", "generate-people", "images.train=2", "images.search=1", "images.val=1", "workers=1")
    run("litepose", "report", "space=litepose")
    assert files_below(installed) == before


def test_an_installed_wheel_finds_people_and_searches_with_what_it_ships(
    run: Run, installed: Path, tmp_path: Path
) -> None:
    before = files_below(installed)
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    assert "small-m, shipped: " in run("litepose", "predict", "model=small-m", "input=photo.jpg", "output=found")
    assert (tmp_path / "found" / "pictures" / "photo.jpg").exists()
    cell = ("device=jetson_nano", "tier=m")
    assert "small, shipped: " in run("litepose", "search", "space=small", *cell, "supernet=small")
    assert {path.name for path in tmp_path.iterdir()} == {"photo.jpg", "found", "runs"}
    assert (tmp_path / "runs" / "small-people" / "search" / "jetson_nano" / "m" / "chosen.json").exists()
    assert files_below(installed) == before


@pytest.mark.parametrize("own", ["conf/__init__.py", "scripts.py", "search.py", "supernet/__init__.py"])
def test_the_installed_command_runs_beside_a_project_of_the_same_names(run: Run, tmp_path: Path, own: str) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("raise ImportError('of another project')\n")
    assert "training.steps" in run("litepose", "train", "--help", PYTHONPATH=".")
    small = ("search.first=8", "search.generations=0", "evaluator=published", "device=jetson_nano", "tier=m")
    assert "jetson_nano m: " in run("litepose", "search", *small, PYTHONPATH=".")
