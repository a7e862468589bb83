"""The options of ncnn's backend, and what it refuses; that its files run is tested with the exporters."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def backend(load_backend: Callable[[str], ModuleType]) -> ModuleType:
    pytest.importorskip("ncnn", reason="the extra 'ncnn' is not installed")
    return load_backend("backend_ncnn")


def test_half_precision_is_an_option_that_the_facts_state_and_the_only_one(backend: ModuleType) -> None:
    assert backend.describe()["precision"] == "float32"
    backend.configure(precision="float16")
    assert backend.describe()["precision"].startswith("float16 storage")
    for options in ({"precision": "int8"}, {"threads": "2"}):
        with pytest.raises(backend.RefusedError, match=r"the options of ncnn are precision=float32\|float16$"):
            backend.configure(**options)


def test_unreadable_files_are_refused(backend: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(backend.RefusedError, match=r"no\.param: ncnn .* cannot load it"):
        backend.load([str(tmp_path / "no.param"), str(tmp_path / "no.bin")], [[1, 1, 2, 2]], 1)
