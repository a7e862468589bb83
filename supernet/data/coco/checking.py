"""A whole split looked at, annotations and image files: everything that was found, and what it holds."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.doubts import find_doubts
from litepose_ofa.supernet.data.coco.reader import read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, Annotations, BoolArray, ImageRecord
from litepose_ofa.supernet.data.coco.splits import SplitFiles, shared_images
from litepose_ofa.supernet.data.findings import Finding, FindingLog, Kind, Report
from litepose_ofa.supernet.data.image_files import BadImageError, decode_image, read_bytes
from litepose_ofa.supernet.data.image_headers import read_header, read_orientation
from litepose_ofa.supernet.data.skeletons import Skeleton

_Inspected = tuple[ImageRecord, list[tuple[Kind, str]], bytes | None]

CHUNK = 256
"""Images that are handed to the threads at a time."""


@dataclass(frozen=True)
class CheckedSplit:
    """What was found in a split's files, what can be used of them, and digests of the image files by their paths."""

    log: FindingLog
    images: AnnotatedImages
    contents: dict[str, bytes]


def check_split(
    files: SplitFiles,
    skeleton: Skeleton,
    *,
    workers: int = 1,
    on_progress: Callable[[int, int], object] | None = None,
) -> CheckedSplit:
    """Read all annotations and decode all images; nothing that is wrong with them ends it.

    Args:
        files: Where they are.
        skeleton: The keypoints that the people must have.
        workers: Threads that decode; OpenCV lets go of the interpreter for that.
        on_progress: Called with the number of images done and of all.
    """
    log = FindingLog()
    annotations = read_annotations(files.annotations, skeleton, log)
    report_uses(annotations, log)
    images = AnnotatedImages(annotations, files.images)
    contents: dict[str, bytes] = {}
    if not files.images.is_dir():
        log(Finding(Kind.UNREADABLE_FILE, files.images.name, f"{files.images}: no such folder of images"))
        return CheckedSplit(log, images, contents)
    for done, (record, found, content) in enumerate(_inspected(images, workers), start=1):
        for kind, message in found:
            log(Finding(kind, record.id, message))
        if content is not None:
            contents[str(record.path)] = content
        if on_progress is not None:
            on_progress(done, len(images))
    _report_same_pictures(contents, log)
    return CheckedSplit(log, images, contents)


def compare_splits(splits: Mapping[str, tuple[SplitFiles, CheckedSplit]]) -> FindingLog:
    """Return what splits have in common: image files, and files of the same content."""
    log = FindingLog()
    paths = {name: files.image_paths(split.images.file_names) for name, (files, split) in splits.items()}
    for name, other, shared in shared_images(paths):
        for path in sorted(shared):
            log(Finding(Kind.SHARED_IMAGE, path, f"{path}: is in the splits {name} and {other}"))
    seen: dict[bytes, tuple[str, str]] = {}
    for name, (_, split) in splits.items():
        for path, content in split.contents.items():
            other, first = seen.setdefault(content, (name, path))
            if other != name:
                message = f"{path}: has the content of {first}, which is in the split {other}"
                log(Finding(Kind.SAME_PICTURE, path, message))
    return log


def report_uses(annotations: Annotations, report: Report) -> None:
    """Report what is used in a manner of its own, as far as the annotations alone show it."""
    visible = annotations.keypoints[:, :, 2] > 0
    crowds, labelled = annotations.crowds, annotations.labelled
    empty_boxes = (annotations.boxes[:, 2:] <= 0).any(axis=1)
    without_area = np.isnan(annotations.areas) & labelled & (annotations.skeleton.area == "annotation")
    limits = annotations.sizes[annotations.images][:, None, :]
    points = annotations.keypoints[:, :, :2]
    outside = (visible & ((points < 0) | (points > limits)).any(axis=2)).any(axis=1)
    miscounted = annotations.num_keypoints != visible.sum(axis=1)
    without_people = np.bincount(annotations.images, minlength=len(annotations.image_ids)) == 0
    rows: tuple[tuple[Kind, BoolArray | np.bool_, str], ...] = (
        (Kind.WITHOUT_KEYPOINTS, ~crowds & ~labelled, "has no labelled keypoint"),
        (Kind.CROWD, crowds, "is a crowd"),
        (Kind.EMPTY_BOX, empty_boxes, "has a 'bbox' without area"),
        (Kind.NO_AREA, without_area, "lacks the key 'area'"),
        (Kind.KEYPOINT_OUTSIDE, outside, "has a labelled keypoint outside of the image"),
        (Kind.KEYPOINT_COUNT, miscounted, "has another 'num_keypoints' than labelled keypoints"),
        (Kind.ID_ZERO, annotations.ids == 0, "counts as never found in pycocotools"),
        *((kind, chosen, f"is doubtful: {kind.meaning}") for kind, chosen in find_doubts(annotations).items()),
    )
    for image_id in annotations.image_ids[without_people].tolist():
        report(Finding(Kind.NOBODY, image_id, f"image {image_id} has no annotation"))
    for kind, chosen, what in rows:
        for entry in annotations.ids[chosen].tolist():
            report(Finding(kind, entry, f"annotation {entry} {what}"))


def describe_split(annotations: Annotations, crowd_levels: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Return what a split holds, as plain values: counts, sizes in pixels, and images by crowdIndex.

    Args:
        annotations: Its annotations.
        crowd_levels: Ranges of crowdIndex by name, the lower end included.
    """
    labelled = annotations.labelled
    visibility = annotations.keypoints[labelled, :, 2]
    crowd_index = annotations.crowd_index
    levels = {name: (low <= crowd_index) & (crowd_index < high) for name, (low, high) in crowd_levels.items()}
    with_people = np.unique(annotations.images[labelled])
    return {
        "images": len(annotations.image_ids),
        "images_with_people": len(with_people),
        "people": int(labelled.sum()),
        "people_an_image": _spread(np.bincount(annotations.images[labelled])[with_people]),
        "people_without_keypoints": int((~labelled & ~annotations.crowds).sum()),
        "crowds": int(annotations.crowds.sum()),
        "joints": {
            name: int((visibility == value).sum()) for name, value in (("visible", 2), ("hidden", 1), ("unlabelled", 0))
        },
        "image_width": _spread(annotations.sizes[:, 0]),
        "image_height": _spread(annotations.sizes[:, 1]),
        "box_height": _spread(annotations.boxes[labelled, 3]),
        "crowd_index": {
            **{name: int(chosen.sum()) for name, chosen in levels.items()},
            "unknown": int(np.isnan(crowd_index).sum()),
        },
    }


def _inspected(images: AnnotatedImages, workers: int) -> Iterator[_Inspected]:
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(images), CHUNK):
            yield from pool.map(_inspect, images[first : first + CHUNK])


def _inspect(record: ImageRecord) -> _Inspected:
    """Return what was seen of one image file, and a digest of it, None if it cannot be opened."""
    findings: list[tuple[Kind, str]] = []
    content = None
    try:
        encoded = read_bytes(record.path)
        content = hashlib.blake2b(encoded, digest_size=16).digest()
        header = read_header(encoded)
        if header is not None:
            uses = {
                Kind.GREY: header.channels <= 2,
                Kind.ALPHA: header.has_alpha,
                Kind.SIXTEEN_BIT: header.bits == 16,
                Kind.TURNED: read_orientation(encoded) != 1,
            }
            findings = [(kind, f"{record.path}: {kind.meaning}") for kind, used in uses.items() if used]
        decode_image(record.path, encoded, (record.width, record.height))
    except BadImageError as error:
        findings = [(error.kind, str(error))]
    return record, findings, content


def _report_same_pictures(contents: Mapping[str, bytes], report: Report) -> None:
    seen: dict[bytes, str] = {}
    for path, content in contents.items():
        first = seen.setdefault(content, path)
        if first != path:
            report(Finding(Kind.SAME_PICTURE, path, f"{path}: has the content of {first}"))


def _spread(values: npt.NDArray[np.number[Any]]) -> dict[str, float] | None:
    """Return the least, the middle and the largest value."""
    if not len(values):
        return None
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
