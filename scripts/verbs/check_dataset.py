"""Read all annotations and images of a dataset, report every finding, and draw samples; status 2 if it cannot train."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from omegaconf import DictConfig
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.scripts.build.data import build_splits
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.fields import SomeWorkers
from litepose_ofa.scripts.settings.groups import RunSettings
from litepose_ofa.supernet.data.coco.checking import CheckedSplit, check_split, compare_splits, describe_split
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.coco.splits import SPLITS, DatasetSplits, SplitFiles
from litepose_ofa.supernet.data.findings import FindingLog, Kind
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.keypoint_ap import CROWD_LEVELS, require_comparable
from litepose_ofa.supernet.files import replacing, write_json
from litepose_ofa.supernet.pictures.drawing import draw_samples

logger = logging.getLogger(__name__)

FINDINGS_FILE = "findings.json"
SAMPLES_FILE = "samples.jpg"
SHOWN_ENTRIES = 5
SKIPPED_KINDS = (Kind.MISSING_IMAGE, Kind.CORRUPT_IMAGE, Kind.IMAGE_SIZE)
"""What a training leaves out with ``on_bad_image: skip``."""


class CheckDatasetVerb(RunSettings):
    workers: SomeWorkers
    samples: Annotated[int, Field(ge=0, le=10_000)]


@script("check_dataset", CheckDatasetVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Check the files of every split, write ``findings.json`` and ``samples.jpg``, refuse what cannot be used."""
    splits = build_splits(cfg)
    checked = {name: (files, _check_split(name, files, splits, cfg.workers)) for name, files in splits.files().items()}
    between = compare_splits(checked)
    folder = start_run(cfg)
    content: dict[str, Any] = {"between_splits": between.to_dict()}
    for name, (files, split) in checked.items():
        statistics = describe_split(split.images.annotations, CROWD_LEVELS)
        content[name] = {"findings": split.log.to_dict(), "statistics": statistics}
        logger.info("%s: %s", name, files.annotations)
        for key, value in statistics.items():
            logger.info("  %-24s %s", key, _line(value))
        _show_findings(split.log)
    _show_findings(between)
    write_json(folder / FINDINGS_FILE, content)
    logger.info("%s", folder / FINDINGS_FILE)
    found = {name: split for name, (_, split) in checked.items()}
    if cfg.samples:
        _draw([split.images for split in found.values()], cfg.samples, cfg.seed, folder / SAMPLES_FILE)
    logs = {name: split.log for name, split in found.items()} | {"two splits": between}
    _require_usable(splits, logs, {name: len(split.images) for name, split in found.items()})


def _check_split(name: str, files: SplitFiles, splits: DatasetSplits, workers: int) -> CheckedSplit:
    with tqdm(desc=name, unit="image", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return check_split(files, splits.skeleton, workers=workers, on_progress=show)


def _show_findings(log: FindingLog) -> None:
    for kind in log.kinds():
        entries = ", ".join(map(str, log.entries[kind][:SHOWN_ENTRIES]))
        more = ", ..." if log.counts[kind] > SHOWN_ENTRIES else ""
        effect = f"{kind.effect.value} {log.counts[kind]} x {kind.name.lower()}"
        logger.info("  %s: %s (%s%s)", effect, kind.meaning, entries, more)


def _line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_line(part)}" for name, part in value.items())
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _draw(splits: Iterable[AnnotatedImages], count: int, seed: int, path: Path) -> None:
    """Draw samples of the first split that has an image to draw."""
    drawn = (draw_samples(images, count, np.random.default_rng(seed)) for images in splits)
    picture = next((picture for picture in drawn if picture is not None), None)
    if picture is not None:
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        with replacing(path) as temporary:
            temporary.write_bytes(encoded.tobytes())
        logger.info("%s", path)


def _require_usable(splits: DatasetSplits, logs: dict[str, FindingLog], num_images: dict[str, int]) -> None:
    """Refuse a dataset that a training would refuse, with the number of the findings or in the training's words."""
    found, first = [], ""
    for name, log in logs.items():
        bad_images = sum(log.counts.get(kind, 0) for kind in SKIPPED_KINDS)
        some_are_good = splits.on_bad_image == "skip" and bad_images < num_images.get(name, 0)
        kinds = log.stopping(tolerated=SKIPPED_KINDS if some_are_good else ())
        found += [f"{log.counts[kind]} x {kind.name.lower()} in {name}" for kind in kinds]
        first = first or (log.examples[kinds[0]] if kinds else "")
    if found:
        raise InputError(f"this stops a training: {', '.join(found)}; the first: {first}")
    splits.load("train").with_people()
    for name in SPLITS[1:]:
        require_comparable(splits.load(name))
    logger.info("no finding stops a training")
