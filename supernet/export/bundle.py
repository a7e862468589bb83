"""The export folder of one subnet: architecture, weights, runtime files, how to feed them, and what was checked.

Its manifest carries the hash of every file and its own digest, so that a folder is opened whole and unchanged, or one
line says what is wrong with it.
"""

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.loading.batches import IMAGE_MEAN, IMAGE_STD
from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton, get_skeleton
from litepose_ofa.supernet.errors import InputError, located
from litepose_ofa.supernet.evaluation.people import PoseModel
from litepose_ofa.supernet.export.formats import PEAKS, ExportFormat, measure_parity
from litepose_ofa.supernet.export.onnx_graph import INPUT_NAME, OUTPUT_NAMES, head_shapes
from litepose_ofa.supernet.export.runners import FloatArray, as_model, open_runner, require_file
from litepose_ofa.supernet.files import read_json, read_yaml, replacing_folder, require_regular, write_text
from litepose_ofa.supernet.network.checkpoints import save_network, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose

ARCH_FILE = "arch.json"
CONFIG_FILE = "subnet.yaml"
WEIGHTS_FILE = "weights.safetensors"
MANIFEST_FILE = "manifest.json"

KIND = "litepose-export"
"""Tells our manifests from other files of that name."""

SCHEMA = 1
AGAIN = "export again (litepose export)"

PACKAGES = ("litepose-ofa", "torch", "numpy", "onnx")
"""Packages whose versions the manifest states, beside those of the runtimes that each format states."""


@dataclass(frozen=True)
class Manifest:
    """An export folder and what its ``manifest.json`` holds; docs/export.md says what each key means."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def formats(self) -> Mapping[str, Mapping[str, Any]]:
        """The record of each exported format, by its name."""
        formats: Mapping[str, Mapping[str, Any]] = self.record["formats"]
        return formats


def write_bundle(
    folder: Path,
    subnet: LitePose,
    *,
    skeleton: Skeleton,
    images: FloatArray,
    formats: Sequence[ExportFormat],
    facts: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    measure_format: Callable[[ExportFormat, Path], Mapping[str, Any]] = lambda fmt, folder: {},
    add_files: Callable[[Path, Mapping[str, Any]], object] = lambda folder, record: None,
) -> Manifest:
    """Write an export folder, whole or not at all, and return its manifest.

    Equal arguments give equal bytes: nothing says when or where it was written.

    Args:
        folder: Where to; replaced if it exists.
        subnet: The network with BN statistics of its own, in eval mode, on the CPU.
        skeleton: Its keypoints.
        images: Normalised images (B, 3, R, R) that each format is really run on, beside torch.
        formats: The formats to write; none are needed to use the folder here.
        facts: What else the manifest records: measured AP, latency, equality, source.
        config: What ``subnet.yaml`` says of training and measuring the subnet again.
        measure_format: Returns what else the manifest is to say of a format whose files are in a folder, such as an AP.
        add_files: Adds files to the folder when all others are there, such as a card, given the manifest's record.

    Raises:
        ParityError: If a runtime and torch differ by more than the format's tolerance.
    """
    with replacing_folder(folder) as temporary:
        subnet.arch.save(temporary / ARCH_FILE)
        save_network(temporary / WEIGHTS_FILE, subnet, facts, skeleton=skeleton)
        described = {}
        for fmt in formats:
            fmt.write(temporary, subnet)
            parity = measure_parity(fmt, temporary, subnet, images)
            more = measure_format(fmt, temporary)
            described[fmt.name] = {**fmt.facts, "files": list(fmt.files), "parity": parity, **more}
        one_line = math.inf  # a command is to be copied whole
        usage = {**usage_of(subnet, skeleton), **(config or {})}
        write_text(temporary / CONFIG_FILE, yaml.safe_dump(usage, sort_keys=False, width=one_line))
        record = {
            **facts,
            "arch_digest": subnet.arch.digest,
            "weights": weights_digest(subnet),
            "complexity": asdict(measure_complexity(subnet.arch, subnet.num_keypoints)),
            "formats": described,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        }
        add_files(temporary, record)
        return Manifest(folder, write_manifest(temporary, record).record)


def usage_of(subnet: LitePose, skeleton: Skeleton) -> dict[str, Any]:
    """Return what ``subnet.yaml`` says of how a network is fed and what its outputs are."""
    size = subnet.arch.image_size
    shapes = map(list, head_shapes(subnet, "one"))
    maps = ("heatmaps, then AE tags", "heatmaps")
    return {
        "arch": ARCH_FILE,
        "weights": WEIGHTS_FILE,
        "num_keypoints": subnet.num_keypoints,
        "skeleton": skeleton.name if SKELETONS.get(skeleton.name) == skeleton else skeleton.to_dict(),
        "keypoints": list(skeleton.keypoints),
        "input": {
            "name": INPUT_NAME,
            "shape": [1, 3, size, size],
            "colour": "RGB",
            "range": "pixel / 255, minus mean, over std",
            "mean": list(IMAGE_MEAN),
            "std": list(IMAGE_STD),
        },
        "outputs": {
            name: {"shape": shape, "maps": maps} for name, shape, maps in zip(OUTPUT_NAMES, shapes, maps, strict=True)
        },
    }


def write_manifest(folder: Path, record: Mapping[str, Any], *, kind: str = KIND) -> Manifest:
    """Write the manifest of a folder whose other files are all there: the record beside kind, schema and hashes."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_FILE}
    content = json.loads(json.dumps({"kind": kind, "schema": SCHEMA, **record, "sha256": files}))
    sealed = {**content, "digest": _digest(content)}
    write_text(folder / MANIFEST_FILE, _spelled(sealed))
    return Manifest(folder, sealed)


def read_manifest(folder: Path, *, kind: str = KIND) -> Manifest:
    """Read the manifest of a folder, as it was written or not at all; errors are as for ``open_export``."""
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {AGAIN}, or name another")
    if not path.is_file():
        raise InputError(f"{folder}: is not an export folder: it has no {MANIFEST_FILE}; litepose export makes one")
    try:
        record = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {AGAIN}") from None
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise InputError(f"{path}: is not of an export of this version (its kind is not {kind!r}); {AGAIN}")
    schema = record.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise InputError(f"{path}: has schema {schema}, this version reads {SCHEMA}; install a newer litepose-ofa")
    digest = record.pop("digest", None)
    sealed = {**record, "digest": digest}
    if digest != _digest(record) or path.read_bytes() != _spelled(sealed).encode():
        raise InputError(f"{path}: was changed or damaged since the export; {AGAIN}")
    return Manifest(folder, sealed)


def open_export(folder: Path) -> Manifest:
    """Check an export folder, every byte of it, and return its manifest; unknown files are ignored.

    Raises:
        InputError: If the folder is missing or foreign, was written by a newer version, lacks a file, or holds one
            that was changed since; the message names the file and says what to do.
    """
    manifest = open_files(folder)
    known = manifest.record["arch_digest"]
    if Arch.load(folder / ARCH_FILE).digest != known:
        raise InputError(f"{folder / ARCH_FILE}: is not the architecture {known} of {MANIFEST_FILE}")
    return manifest


def open_files(folder: Path, *, kind: str = KIND) -> Manifest:
    """Check every file of a folder that its manifest lists, and return the manifest; errors as for ``open_export``."""
    manifest = read_manifest(folder, kind=kind)
    for name, digest in manifest.record["sha256"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: no such file, but {MANIFEST_FILE} lists it; {AGAIN}")
        if sha256_of(path) != digest:
            raise InputError(f"{path}: is damaged: its SHA-256 is not the one in {MANIFEST_FILE}; {AGAIN}")
    return manifest


def exported_skeleton(folder: Path) -> Skeleton:
    """Return the keypoints of an export folder's network, of its ``subnet.yaml``."""
    path = folder / CONFIG_FILE
    usage = read_yaml(path)
    if not isinstance(usage, Mapping) or not {"skeleton", "keypoints"} <= usage.keys():
        raise InputError(f"{path}: lacks skeleton or keypoints as an export has them")
    given = usage["skeleton"]
    with located(path):
        skeleton = Skeleton.from_dict(given) if isinstance(given, Mapping) else get_skeleton(given)
    if list(skeleton.keypoints) != usage["keypoints"]:
        raise InputError(f"{path}: its keypoints are not those of the skeleton {skeleton.name!r}")
    return skeleton


class ExportedModel(NamedTuple):
    """A runtime's file of an export folder, opened; 12 digits tell the files of its format from others."""

    model: PoseModel
    format: str
    digest: str


def open_exported(path: Path, *, threads: int = 1) -> ExportedModel:
    """Open a runtime's file of an export folder; of ncnn's two either may be named.

    Raises:
        InputError: If the folder is not whole, the file is none of a network in it, or its runtime is missing.
    """
    require_file(path)
    manifest = open_export(path.parent)
    files_of = {name: described["files"] for name, described in manifest.formats.items()}
    name = next((name for name, files in files_of.items() if path.name in files), None)
    if name is None:
        known = ", ".join(file for files in files_of.values() for file in files)
        raise InputError(f"{path}: is not a runtime's file of the export, which has {known or 'none'}")
    if name == PEAKS:
        raise InputError(f"{path}: gives peaks for a device's own decoder, not heatmaps; use another format's file")
    files = files_of[name]
    runner = open_runner(path.with_name(files[0]), threads=threads)
    digest = "".join(manifest.record["sha256"][file][: 12 // len(files)] for file in files)
    return ExportedModel(as_model(runner, Arch.load(path.parent / ARCH_FILE).image_size), name, digest)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    require_regular(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(_spelled(record).encode()).hexdigest()


def _spelled(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2) + "\n"
