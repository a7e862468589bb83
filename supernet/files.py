"""Writing files so that a reader never sees half of one."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supernet.errors import InputError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` if the block succeeds, remove it if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; put it in the place of ``path`` if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    before = path.with_name(f".{path.name}.before")
    if before.exists() and not path.exists():
        os.replace(before, path)  # an earlier process was killed between its two renames
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            os.replace(path, before)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file through a temporary name."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file through a temporary name."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If the file is missing or is not JSON.
    """
    return _parse(Path(path), json.loads, "JSON")


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file without executing anything it names.

    Raises:
        InputError: If the file is missing or is not YAML.
    """
    import yaml

    return _parse(Path(path), yaml.safe_load, "YAML")


def _parse(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # each parser has its own exceptions, and none is a bug of ours
        raise InputError(f"{path}: is not {language} ({' '.join(str(error).split())})") from None
