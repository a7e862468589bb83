"""Opening an export folder: it is whole and unchanged, or one line says what is wrong with it."""

from pathlib import Path

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.bundle import ARCH_FILE, CONFIG_FILE, WEIGHTS_FILE
from litepose_ofa.supernet.export.manifest import (
    AGAIN,
    MANIFEST_FILE,
    Manifest,
    read_manifest,
    sha256_of,
)

ALWAYS = (ARCH_FILE, CONFIG_FILE, WEIGHTS_FILE)
"""What every export folder holds beside its manifest and the files of its formats."""


def open_export(folder: Path) -> Manifest:
    """Check an export folder, every byte of it, and return its manifest; files it does not know are let be.

    Raises:
        InputError: If the folder is missing or foreign, was written by a newer version, lacks a file, or holds one
            that was changed since; the message names the file and says what to do.
    """
    manifest = read_manifest(folder)
    listed = (*ALWAYS, *(file for described in manifest.formats.values() for file in described["files"]))
    for name in listed:
        if name not in manifest.files:
            raise InputError(f"{folder / MANIFEST_FILE}: has no SHA-256 of {name}; {AGAIN}")
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: no such file, but {MANIFEST_FILE} lists it; {AGAIN}")
        if sha256_of(path) != digest:
            raise InputError(f"{path}: is damaged: its SHA-256 is not the one in {MANIFEST_FILE}; {AGAIN}")
    if Arch.load(folder / ARCH_FILE).digest != manifest.arch_digest:
        raise InputError(f"{folder / ARCH_FILE}: is not the architecture {manifest.arch_digest} of {MANIFEST_FILE}")
    return manifest


def open_exported_file(path: Path) -> Manifest:
    """Check the export folder that a file is in.

    Raises:
        InputError: If the file is missing, its folder is no whole export folder, or the export does not know it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    manifest = open_export(path.parent)
    if path.name not in manifest.files:
        raise InputError(f"{path}: is no file of this export; it has {', '.join(manifest.files)}")
    return manifest
