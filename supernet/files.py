"""Writing files so that a reader never sees half of one."""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supernet.errors import InputError


@contextmanager
def replacing(path: Path | str, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` if the block succeeds, remove it if not.

    Args:
        path: The file to replace.
        durable: Wait until the disk has the content and the name, so that a power failure cannot take them back.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            yield temporary
            if durable:
                _synchronise(temporary)
            os.replace(temporary, path)
            if durable:
                _synchronise(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an ``OSError`` that names no file, as a failed write's, the name of this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder that no other process writes to."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends, however it does.

    Raises:
        InputError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not for forked loading processes too
        except BlockingIOError:
            raise InputError(f"{folder}: another process is writing to this run folder") from None
        yield


def _synchronise(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
        if before.exists() and not path.exists():
            os.replace(before, path)
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
    from supernet.bounded_yaml import load_yaml

    return _parse(Path(path), load_yaml, "YAML")


def require_regular(path: Path | str) -> None:
    """Refuse what is there but is no regular file: opening a pipe or a device could wait for ever.

    Raises:
        InputError: If the path leads to a pipe, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # whoever opens it says what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: is a pipe, a socket or a device; it must be a regular file")


def _parse(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    require_regular(path)
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # each parser has its own exceptions, and none is a bug of ours
        raise InputError(f"{path}: is not {language} ({' '.join(str(error).split())})") from None
