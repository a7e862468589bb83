"""A kit from its exporter to the measurements read back, and executables that stand in for a board's tools."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from litepose_ofa.latency_tables.profiling.kit import BOARD_DIR

BACKENDS = ("backend_adb", "backend_ncnn", "backend_trtexec")


@pytest.fixture
def load_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a backend as the board's script does, with nothing configured yet."""
    monkeypatch.syspath_prepend(str(BOARD_DIR))
    yield importlib.import_module
    for name in (*BACKENDS, "measurement_file", "sensors"):
        sys.modules.pop(name, None)


@pytest.fixture
def fake_tool(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write an executable of this Python; ``log(arguments)`` in it adds a line to the file <name>.log beside it."""

    def write(name: str, code: str) -> Path:
        path = tmp_path / name
        header = f"#!{sys.executable} -S\nimport os, sys, time\narguments = sys.argv[1:]\n"
        header += f"log = lambda words: open({str(path) + '.log'!r}, 'a').write(' '.join(words) + '\\n')\n"
        path.write_text(header + code)
        path.chmod(0o755)
        return path

    return write
