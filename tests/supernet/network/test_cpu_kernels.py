"""How the C functions are compiled, kept and done without."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from litepose_ofa.supernet.network import cpu_kernels


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cpu_kernels.functions.cache_clear()
    yield tmp_path / "litepose_ofa"
    cpu_kernels.functions.cache_clear()


@pytest.mark.usefixtures("needs_compiler")
def test_compiled_once_and_kept(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpu_kernels.functions() is not None
    (file,) = cache_home.iterdir()
    cpu_kernels.functions.cache_clear()
    monkeypatch.setattr(cpu_kernels.tempfile, "TemporaryDirectory", None)
    assert cpu_kernels.functions() is not None
    assert list(cache_home.iterdir()) == [file]


@pytest.mark.usefixtures("needs_compiler")
def test_another_source_is_another_file(cache_home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.c"
    names = set()
    for text in ("int a;", "int b;"):
        source.write_text(text)
        names.add(cpu_kernels._name(["cc", "-O3"], [source]))
    assert len(names) == 2


@pytest.mark.usefixtures("needs_compiler")
def test_a_damaged_file_is_compiled_again(cache_home: Path) -> None:
    cpu_kernels.functions()
    (file,) = cache_home.iterdir()
    size = file.stat().st_size
    file.unlink()  # it is mapped: what is written into it would be run
    file.write_bytes(b"damaged")
    cpu_kernels.functions.cache_clear()
    assert cpu_kernels.functions() is not None
    assert file.stat().st_size == size


@pytest.mark.usefixtures("needs_compiler")
def test_a_cache_that_cannot_be_written(cache_home: Path) -> None:
    cache_home.write_text("no folder")
    assert cpu_kernels.functions() is not None


@pytest.mark.parametrize(("compiler", "said"), [("no-such-compiler -m64", "not found"), ("false", "")])
def test_without_a_compiler_it_is_said_once(
    cache_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, compiler: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    with caplog.at_level(logging.WARNING):
        assert cpu_kernels.functions() is None
        assert cpu_kernels.functions() is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"no C compiler to be had ({compiler.split()[0]}: {said}")
