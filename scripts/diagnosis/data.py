"""Checks of what runs read and write: shipped tables, datasets, the disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from litepose_ofa.scripts.diagnosis.findings import Finding
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json

GIB = 2**30
SPLITS = ("train", "search", "val")
PREPARATION = {
    "people": "litepose generate-people renders it",
    "coco": "train2017.zip and val2017.zip from http://images.cocodataset.org/zips/, annotations_trainval2017.zip from "
    "http://images.cocodataset.org/annotations/",
    "crowdpose": "images and annotations from https://github.com/Jeff-sjtu/CrowdPose",
}
"""Where the datasets come from that have a config."""


def check_tables() -> Iterator[Finding]:
    """Load every shipped latency table and decoding cost, with its checksum."""
    from litepose_ofa.latency_tables import LatencyTable
    from litepose_ofa.latency_tables.decoding.cost import DecodingCost, shipped_decoding_costs
    from litepose_ofa.latency_tables.table import shipped_tables
    from litepose_ofa.supernet.errors import InputError

    restore = "install litepose-ofa again; in its source tree, git checkout latency_tables"
    names, broken = shipped_tables(), 0
    for name in names:
        try:
            LatencyTable.load(name)
        except (InputError, OSError) as error:
            broken += 1
            yield Finding(f"table {name}", "error", str(error), restore)
    for name in shipped_decoding_costs():
        try:
            DecodingCost.load(name)
        except (InputError, OSError) as error:
            broken += 1
            yield Finding(f"decoding cost {name}", "error", str(error), restore)
    if not names:
        yield Finding("latency tables", "error", "none is installed", restore)
    elif not broken:
        yield Finding("latency tables", "ok", f"{', '.join(names)}: complete, checksums right")


def check_datasets(data_root: Path) -> Iterator[Finding]:
    """Look whether the datasets that have a config are below a folder, with all files that they name.

    Args:
        data_root: The folder of dataset folders.
    """
    import yaml

    from litepose_ofa import conf

    for path in sorted((Path(conf.__file__).parent / "dataset").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        root = Path(str(config["root"]).replace("${data_root}", str(data_root)))
        yield _check_dataset(path.stem, root, config)


def check_workspace(folder: Path) -> Iterator[Finding]:
    """Look whether a run could write below a folder, and how much.

    Args:
        folder: The workspace, which need not be there yet.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"litepose")
    except OSError as error:
        advice = "give a folder that can be written to: workspace=FOLDER"
        yield Finding("workspace", "error", f"{there}: {error.strerror}", advice)
        return
    free = shutil.disk_usage(there).free
    found = f"{folder.absolute()} can be written to, {free / GIB:,.1f} GiB are free"
    if free < GIB:
        yield Finding("workspace", "error", found, "free at least 1 GiB, or give another disk: workspace=FOLDER")
    elif free < 10 * GIB:
        yield Finding("workspace", "warning", found, "enough for the demo; the images of COCO take 19 GB")
    else:
        yield Finding("workspace", "ok", found)


def _check_dataset(name: str, root: Path, config: dict[str, Any]) -> Finding:
    subject, source = f"dataset {name}", PREPARATION.get(name, "see docs/datasets.md")
    if not root.is_dir():
        return Finding(subject, "absent", f"not in {root}; {source}")
    counts, lacks = [], []
    for split in SPLITS:
        if "annotations" in config[split]:
            images, missing = _count(root, config[split])
            if missing:
                lacks.append(f"{split}: {missing}")
            else:
                counts.append(f"{split} {images:,}")
    complete = [f"{', '.join(counts)} images"] if counts else []
    found = f"{root}: {'; '.join([*complete, *lacks])}"
    if lacks:
        return Finding(subject, "warning", found, source)
    return Finding(subject, "ok", found, f"litepose check-dataset dataset={name} reads every image")


def _count(root: Path, split: dict[str, str]) -> tuple[int, str]:
    """Return how many images the annotations of a split name, and what is missing, in words."""
    annotations, images = root / split["annotations"], root / split["images"]
    if not annotations.exists():
        return 0, f"no {annotations}"
    try:
        named = [entry["file_name"] for entry in read_json(annotations)["images"]]
    except (InputError, KeyError, TypeError):
        return 0, f"{annotations} is not an annotation file"
    there = set(os.listdir(images)) if images.is_dir() else set()
    absent = sum(name not in there and not (images / name).is_file() for name in named)
    return len(named), f"{absent:,} of {len(named):,} images are not in {images}" if absent else ""
