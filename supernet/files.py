"""Files written so that a reader never sees half of one, and JSON and YAML read from them."""

import errno
import fcntl
import functools
import json
import os
import secrets
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from litepose_ofa.supernet.errors import InputError

MARK = ".litepose-"
"""How the names of temporary files begin."""

MOST_YAML_VALUES = 10**6
"""Values of a YAML document, each counted as often as aliases repeat it."""


@contextmanager
def replacing(path: Path | str, *, durable: bool = True) -> Iterator[Path]:
    """Yield a new empty file beside ``path``; rename it onto ``path`` if the block succeeds, remove it if not.

    What killed processes left in the folder is removed at a process's first write there.

    Args:
        path: The file to replace.
        durable: Wait until the disk has the content and the name, so that a power failure leaves the old file or the
            new one. Without it, which is for many small files that are easily made again, the new one may be empty.
    """
    path = Path(path)
    with _temporary(path) as temporary:
        yield temporary
        if durable:
            _synchronise(temporary)
        os.replace(temporary, path)
        if durable:
            _synchronise(path.parent)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield a new empty file beside ``path``, locked, and remove it if it is still there.

    The name has nothing of the target's, which may be as long as the system allows. Who can lock the file knows that
    its process is gone, on another machine too where the file system has locks; where it has none, leftovers stay.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.resolve())
        temporary, handle = _create_locked(path.parent)
    try:
        with naming(path, instead_of=temporary):
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _create_locked(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / f"{MARK}{secrets.token_hex(8)}.tmp"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return path, handle
        os.close(handle)  # between the two calls another process took it for a leftover


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files of a folder whose processes are gone, and what has their names and a suffix."""
    for path in folder.glob(f"{MARK}*.tmp"):
        with suppress(OSError), path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for beside in folder.glob(f"{path.name}.*"):
                shutil.rmtree(beside) if beside.is_dir() else beside.unlink()
            path.unlink()


@contextmanager
def naming(path: Path, *, instead_of: Path | None = None) -> Iterator[None]:
    """Give an ``OSError`` that names no file, as a failed write's, or a temporary one, the name of this one."""
    try:
        yield
    except OSError as error:
        named = Path(error.filename or path)
        if instead_of is not None and named.is_relative_to(instead_of):
            named = path / named.relative_to(instead_of)
        if error.errno is None:  # such as numpy's: without a number the file would not be told
            raise OSError(errno.EIO, str(error), str(named)) from error
        error.filename = str(named)
        raise


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, or refuse: by a file ``.lock`` that binds nobody once its process is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    require_regular(path)
    while True:
        with path.open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not for forked processes too
            except BlockingIOError:
                raise InputError(
                    f"{folder}: another process is writing to this folder; wait for it or end it"
                ) from None
            if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                continue  # it was removed by the process that held it until now
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _synchronise(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some file systems have nothing to synchronise in a folder
            raise
    finally:
        os.close(handle)


@contextmanager
def temporary_folder(parent: Path, *, becomes: Path) -> Iterator[Path]:
    """Yield a new empty folder in ``parent`` for what is moved to another one; then remove it."""
    with _temporary(parent / becomes.name) as mark:
        folder = mark.with_name(f"{mark.name}.folder")
        folder.mkdir()
        try:
            with naming(becomes, instead_of=folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; put it in the place of ``path`` if the block succeeds.

    No other process may write this folder.
    """
    path = Path(path)
    restore_folder(path)
    with temporary_folder(path.parent, becomes=path) as temporary:
        try:
            yield temporary
            for written in temporary.rglob("*"):
                _synchronise(written)
            if path.exists():
                os.replace(path, _before(path))
            os.replace(temporary, path)
            _synchronise(path.parent)
        finally:
            restore_folder(path)


def restore_folder(path: Path) -> None:
    """Undo half of a replacement, or end one, after a process was killed in ``replacing_folder``."""
    before = _before(path)
    if before.exists() and not path.exists():
        os.replace(before, path)
    shutil.rmtree(before, ignore_errors=True)


def _before(path: Path) -> Path:
    return path.with_name(f"{MARK}{zlib.crc32(path.name.encode()):08x}.before")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file through a temporary name."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file through a temporary name."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file."""
    return _parse(Path(path), json.loads, "JSON")


def read_yaml(path: Path | str) -> Any:
    """Read a YAML file without executing anything it names."""
    return _parse(Path(path), load_yaml, "YAML")


def read_text(path: Path | str) -> str:
    """Read a text file.

    Raises:
        InputError: If the file is missing or is not UTF-8 text.
    """
    return str(_parse(Path(path), str, "UTF-8 text"))


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document, without executing anything it names.

    A few hundred bytes of aliases can stand for more values than a machine holds, so they are counted.

    Raises:
        yaml.YAMLError: If it is not YAML, or aliases make it endless or larger than ``MOST_YAML_VALUES`` values.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}) > MOST_YAML_VALUES:
            raise yaml.YAMLError(f"its aliases make more than {MOST_YAML_VALUES:,} values of it")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node; one that contains itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = MOST_YAML_VALUES
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = (part for item in parts for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_count_values(part, known) for part in inner)
    return known[id(node)]


def read_content(path: Path) -> bytes:
    """Read a file.

    Raises:
        InputError: If the file is missing, cannot be read, or is a pipe, a socket or a device.
    """
    require_regular(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def require_regular(path: Path | str) -> None:
    """Refuse a path to anything but a regular file: opening a pipe or a device could wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # whoever opens it says what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: is a pipe, a socket or a device; it must be a regular file")


def _parse(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    content = read_content(path)
    try:
        return parse(content.decode("utf-8"))
    except Exception as error:  # each parser has its own exceptions, and none is a bug of ours
        raise InputError(f"{path}: is not {language} ({' '.join(str(error).split())})") from None
