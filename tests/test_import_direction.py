"""Imports point one way: supernet <- latency_tables <- search <- scripts; data and codec know no models."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("supernet", "latency_tables", "search", "scripts")
"""Lowest first: a package imports itself and those before it."""

OURS = {*LAYERS, "conf", "tests", "benchmarks"}
MODEL_FREE = ("supernet.data", "supernet.codec")
MODEL_FREE_MAY_IMPORT = (*MODEL_FREE, "supernet.errors", "supernet.files")
CONFIG_LIBRARIES = {"hydra", "omegaconf"}


def modules(root: Path) -> dict[str, Path]:
    """Map dotted names to the files of all packages below ``root``."""
    found = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the dotted name of every module that a file imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            submodules = [f"{source}.{alias.name}" for alias in node.names if f"{source}.{alias.name}" in known]
            yield from submodules
            if len(submodules) < len(node.names):
                yield source


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def wrong_imports(root: Path) -> list[str]:
    """Describe every import that points the wrong way."""
    wrong = []
    known = modules(root)
    for name, path in known.items():
        layer = name.partition(".")[0]
        below = set(LAYERS[: LAYERS.index(layer) + 1]) | ({"conf"} if layer == "scripts" else set())
        for imported in imports(name, path, known):
            top = imported.partition(".")[0]
            upwards = top in OURS and top not in below
            configured = top in CONFIG_LIBRARIES and layer != "scripts"
            knows_models = within(name, MODEL_FREE) and top in OURS and not within(imported, MODEL_FREE_MAY_IMPORT)
            if upwards or configured or knows_models:
                wrong.append(f"{name} imports {imported}")
    return wrong


def test_imports_point_one_way() -> None:
    assert wrong_imports(ROOT) == []


def test_no_module_imports_itself_through_others() -> None:
    known = modules(ROOT)
    graph = {name: {other for other in imports(name, path, known) if other in known} for name, path in known.items()}
    assert set(LAYERS) <= graph.keys()
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("supernet/a.py", "import search", "supernet.a imports search"),
        ("supernet/a.py", "from latency_tables import x", "supernet.a imports latency_tables"),
        ("supernet/a.py", "def f():\n    from search.b import x", "supernet.a imports search.b"),
        ("supernet/a.py", "import hydra.utils", "supernet.a imports hydra.utils"),
        ("search/a.py", "from omegaconf import DictConfig", "search.a imports omegaconf"),
        ("latency_tables/a.py", "import search.b as b", "latency_tables.a imports search.b"),
        ("search/a.py", "import scripts", "search.a imports scripts"),
        ("search/a.py", "import conf", "search.a imports conf"),
        ("scripts/a.py", "import tests", "scripts.a imports tests"),
        ("supernet/data/a.py", "from supernet import litepose", "supernet.data.a imports supernet.litepose"),
        ("supernet/data/a.py", "from ..litepose import x", "supernet.data.a imports supernet.litepose"),
        ("supernet/data/__init__.py", "from .. import litepose", "supernet.data imports supernet.litepose"),
        ("supernet/codec/a.py", "from supernet.litepose import x", "supernet.codec.a imports supernet.litepose"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str, found: str, tmp_path: Path) -> None:
    for name in ("supernet/__init__.py", "supernet/litepose.py", path):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / path).write_text(source)
    assert wrong_imports(tmp_path) == [found]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("supernet/a.py", "import torch, supernet.litepose"),
        ("supernet/data/a.py", "from . import b\nfrom supernet.errors import InputError\nfrom supernet import files"),
        ("search/a.py", "import latency_tables, supernet, search.b"),
        ("scripts/a.py", "import conf, hydra, search, latency_tables, supernet\nfrom . import b"),
    ],
)
def test_a_right_import_is_let_through(path: str, source: str, tmp_path: Path) -> None:
    for name in ("supernet/files.py", "supernet/data/b.py", "scripts/b.py", path):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / path).write_text(source)
    assert wrong_imports(tmp_path) == []
