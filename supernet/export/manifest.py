"""The manifest of an export folder: what it says of itself, in one spelling whose digest it carries."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, require_regular, write_text

MANIFEST_FILE = "manifest.json"

KIND = "litepose-export"
"""What tells our manifests from other files of that name."""

SCHEMA = 1

AGAIN = "export again (litepose export)"


@dataclass(frozen=True)
class Manifest:
    """An export folder and its record; docs/export.md says what each key holds.

    Attributes:
        folder: The folder.
        record: What its ``manifest.json`` holds.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def arch_digest(self) -> str:
        """The architecture's digest."""
        return str(self.record["arch_digest"])

    @property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of each file of the export by its name, in hexadecimal digits."""
        files: Mapping[str, str] = self.record["sha256"]
        return files

    @property
    def formats(self) -> Mapping[str, Mapping[str, Any]]:
        """What is said of each exported format, by its name."""
        formats: Mapping[str, Mapping[str, Any]] = self.record["formats"]
        return formats

    def format_of(self, file: str) -> str | None:
        """Return the name of the format that a file belongs to, or None."""
        return next((name for name, described in self.formats.items() if file in described["files"]), None)


def write_manifest(folder: Path, record: Mapping[str, Any]) -> Manifest:
    """Write the manifest of a folder whose other files are all there.

    Args:
        folder: The folder.
        record: What it is to say beside kind, schema and the files' hashes.
    """
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_FILE}
    content = json.loads(json.dumps({"kind": KIND, "schema": SCHEMA, **record, "sha256": files}))
    sealed = {**content, "digest": _digest(content)}
    write_text(folder / MANIFEST_FILE, _spelled(sealed))
    return Manifest(folder, sealed)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder, as it was written or not at all.

    Raises:
        InputError: If folder or manifest is missing, is not ours, is of a newer schema, or was changed; the message
            names the file and says what to do.
    """
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {AGAIN}, or name another")
    if not path.is_file():
        raise InputError(f"{folder}: is no export folder: it has no {MANIFEST_FILE}; litepose export makes one")
    record = _read(path)
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise InputError(f"{path}: is not of an export of this version (its kind is not {KIND!r}); {AGAIN}")
    schema = record.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise InputError(f"{path}: has schema {schema}, this version reads {SCHEMA}; install a newer litepose-ofa")
    digest = record.pop("digest", None)
    sealed = {**record, "digest": digest}
    unchanged = digest == _digest(record) and path.read_bytes() == _spelled(sealed).encode()
    if schema != SCHEMA or not unchanged or not _is_whole(record):
        raise InputError(f"{path}: was changed or damaged since the export; {AGAIN}")
    return Manifest(folder, sealed)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    require_regular(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {AGAIN}") from None


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Say whether a record has what ``Manifest`` tells of it; file names that lead elsewhere are not of ours."""
    files, formats = record.get("sha256"), record.get("formats")
    return (
        isinstance(record.get("arch_digest"), str)
        and isinstance(files, dict)
        and all(isinstance(digest, str) and name == Path(name).name for name, digest in files.items())
        and isinstance(formats, dict)
        and all(isinstance(each, dict) and isinstance(each.get("files"), list) for each in formats.values())
    )


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(_spelled(record).encode()).hexdigest()


def _spelled(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2) + "\n"
