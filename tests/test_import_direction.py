"""Imports point one way: supernet <- latency_tables <- search <- scripts; nothing is too large to find one's way in.

Names are given from ``litepose_ofa`` on. The folders at the top level are never imported by their bare names: they
would meet whatever a user's own project calls ``conf`` or ``search``.
"""

import ast
import graphlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("supernet", "latency_tables", "search", "scripts")
"""Lowest first: a package imports itself and those before it."""

OURS = {*LAYERS, "conf"}
NOT_INSTALLED = {"tests", "benchmarks", "docs"}
PACKAGE = "litepose_ofa"
MODEL_FREE = ("supernet.data", "supernet.codec")
MODEL_FREE_MAY_IMPORT = (*MODEL_FREE, "supernet.errors", "supernet.files", "supernet.validation")
CONFIG_LIBRARIES = {"hydra", "omegaconf"}


def modules(root: Path) -> dict[str, Path]:
    """Map dotted names to the files of all packages below ``root``."""
    found = {}
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the dotted name of every module that a file imports, anywhere in it; ours from the package on."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (from_the_package(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = from_the_package(f"{'.' * node.level}{node.module or ''}")
            names = [f"{source}.{alias.name}".removeprefix(".") for alias in node.names]
            submodules = [name for name in names if name in {*known, "conf"}]
            yield from submodules
            if len(submodules) < len(names):
                yield source


def from_the_package(name: str) -> str:
    """Return a name without ``litepose_ofa.``; one of our folders' bare names, or a relative one, with ``bare:``."""
    if name == PACKAGE or name.startswith(f"{PACKAGE}."):
        return name.removeprefix(PACKAGE).removeprefix(".")
    return f"bare:{name}" if name.partition(".")[0] in {*OURS, ""} else name


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def wrong_imports(root: Path) -> list[str]:
    """Describe every import that points the wrong way."""
    wrong = []
    known = modules(root)
    for name, path in known.items():
        layer = name.partition(".")[0]
        below = set(LAYERS[: LAYERS.index(layer) + 1]) | ({"conf"} if layer == "scripts" else set())
        for imported in imports(path, known):
            top = imported.partition(".")[0]
            upwards = top in OURS and top not in below
            foreign = top.startswith("bare:") or top in NOT_INSTALLED
            configured = top in CONFIG_LIBRARIES and layer != "scripts"
            knows_models = within(name, MODEL_FREE) and top in OURS and not within(imported, MODEL_FREE_MAY_IMPORT)
            if upwards or foreign or configured or knows_models:
                wrong.append(f"{name} imports {imported}")
    return wrong


def test_imports_point_one_way() -> None:
    assert wrong_imports(ROOT) == []


def test_no_module_imports_itself_through_others() -> None:
    known = modules(ROOT)
    graph = {name: {other for other in imports(path, known) if other in known} for name, path in known.items()}
    assert set(LAYERS) <= graph.keys()
    graphlib.TopologicalSorter(graph).prepare()


def test_no_folder_imports_itself_through_others() -> None:
    known = modules(ROOT)
    folders = {name: path.parent.relative_to(ROOT).as_posix() for name, path in known.items()}
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        of = {folders[other] for other in imports(path, known) if other in known}
        graph.setdefault(folders[name], set()).update(of - {folders[name]})
    graphlib.TopologicalSorter(graph).prepare()


def test_no_module_and_no_folder_is_too_large() -> None:
    files = [path for top in (*LAYERS, "tests", "benchmarks", "docs") for path in (ROOT / top).rglob("*.py")]
    long = [f"{path}: {lines} lines" for path in files if (lines := len(path.read_text().splitlines())) > 350]
    full = [
        f"{folder}: {count} modules"
        for folder, count in Counter(path.parent for path in files if path.name != "__init__.py").items()
        if count > 14 and folder.parts[-2:] != ("scripts", "verbs")  # one module a verb
    ]
    assert long + full == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("supernet/a.py", "import search", "supernet.a imports bare:search"),
        ("scripts/a.py", "from conf import x", "scripts.a imports bare:conf"),
        ("supernet/a.py", "def f():\n    from litepose_ofa.search.b import x", "supernet.a imports search.b"),
        ("supernet/a.py", "import hydra.utils", "supernet.a imports hydra.utils"),
        ("search/a.py", "from omegaconf import DictConfig", "search.a imports omegaconf"),
        ("scripts/a.py", "import tests", "scripts.a imports tests"),
        ("supernet/data/a.py", "from litepose_ofa.supernet import net", "supernet.data.a imports supernet.net"),
        ("supernet/data/a.py", "from ..net import x", "supernet.data.a imports bare:..net"),
        ("supernet/codec/a.py", "from litepose_ofa.supernet.net import x", "supernet.codec.a imports supernet.net"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str, found: str, tmp_path: Path) -> None:
    for name in ("supernet/__init__.py", "supernet/net.py", path):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / path).write_text(source)
    assert wrong_imports(tmp_path) == [found]
