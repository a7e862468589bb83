"""Rendered people as a COCO-format folder: images and annotations, from one seed."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from litepose_ofa.supernet.data.coco.writing import category_entry, person_entry
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.poses import AnnotatedPoses, Kinematics, PoseSource
from litepose_ofa.supernet.data.synthetic.scenes import Labels, render_scene
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, replacing, write_text

__all__ = ["PeopleSettings", "generate_split", "split_paths"]

CHUNK = 32
"""Images that are kept together when a run is killed."""

IDS_PER_IMAGE = 100
"""The last of an image's ids is its crowd's."""

Entries = tuple[dict[str, Any], list[dict[str, Any]]]
"""An image and its people as they stand in the annotation JSON."""


def split_paths(folder: Path, split: str) -> tuple[Path, Path]:
    """Return the annotation file and the image folder of a split."""
    return folder / "annotations" / f"{split}.json", folder / "images" / split


def generate_split(
    folder: Path | str,
    split: str,
    count: int,
    seed: int,
    settings: PeopleSettings,
    skeleton: Skeleton,
    *,
    poses_from: Path | str | None = None,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
) -> int:
    """Write ``images/<split>/000001.jpg`` and so on, and last of all ``annotations/<split>.json``.

    An image depends on the seed, the split and its number alone. A split that has its JSON and images is finished and
    is left as it is. One that was interrupted, or killed, goes on: its finished chunks are in
    ``annotations/.<split>.chunks`` and are rendered again only if their image files have changed, or what they were
    rendered from.

    Args:
        folder: Root of the dataset; no other process writes to it.
        split: Name of the split.
        count: Number of images, at least 1.
        seed: Seed of all randomness.
        settings: What the images show.
        skeleton: The keypoints to annotate.
        poses_from: A COCO-format annotation file of the same skeleton to take poses from, instead of kinematics.
        workers: Processes that render.
        on_progress: Called with the number of images done since the last call, once a chunk.

    Returns:
        The number of images written: ``count`` less those of finished chunks, or 0 if the split was there.
    """
    annotations, images = split_paths(Path(folder), split)
    chunks_folder = annotations.with_name(f".{split}.chunks")
    if _is_finished(annotations, images):
        shutil.rmtree(chunks_folder, ignore_errors=True)  # a run was killed before it removed all of them
        return 0
    if count < 1:
        raise InputError(f"split {split!r} has {count} images; it must have at least one")
    poses: PoseSource = Kinematics(settings.lean_degrees, settings.yaw_degrees, settings.from_behind)
    if poses_from is not None:
        poses = AnnotatedPoses.load(poses_from, skeleton, complete=settings.self_occlusion)
    images.mkdir(parents=True, exist_ok=True)
    digest = _file_digest(Path(poses_from)) if poses_from else None
    parts = (split, seed, settings, skeleton, digest, cv2.__version__, np.__version__)
    rendered_by = hashlib.sha256(repr(parts).encode()).hexdigest()
    writer = _ChunkWriter(chunks_folder, images, rendered_by, seed, settings, skeleton, poses)
    chunks = [range(first, min(first + CHUNK, count + 1)) for first in range(1, count + 1, CHUNK)]
    content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [category_entry(skeleton)]}
    written = 0
    for fresh, entries in _each(writer, chunks, workers):
        content["images"].extend(picture for picture, _ in entries)
        content["annotations"].extend(person for _, people in entries for person in people)
        written += len(entries) if fresh else 0
        if on_progress:
            on_progress(len(entries))
    write_text(annotations, json.dumps(content))
    shutil.rmtree(chunks_folder)
    return written


def _is_finished(annotations: Path, images: Path) -> bool:
    """Say whether a split's JSON is whole and no image is missing or, as after a power failure, empty."""
    try:
        names = [picture["file_name"] for picture in read_json(annotations)["images"]]
        return all((images / name).stat().st_size for name in names)
    except (InputError, OSError, KeyError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class _ChunkWriter:
    """Renders and writes the images of a chunk that is not there yet, and keeps their entries.

    A kept chunk is a JSON file with what its images were rendered from, the hash of every image file, and their
    entries. It is believed only if all of that still holds.
    """

    folder: Path
    images: Path
    rendered_by: str
    seed: int
    settings: PeopleSettings
    skeleton: Skeleton
    poses: PoseSource

    def __call__(self, numbers: Sequence[int]) -> tuple[bool, list[Entries]]:
        """Return whether the chunk was rendered now, and its images' entries."""
        path = self.folder / f"{numbers[0]:06d}.json"
        kept = self._load(path, numbers)
        if kept is not None:
            return False, kept
        entries = [self._render(number) for number in numbers]
        names = [picture["file_name"] for picture, _ in entries]
        content = {
            "rendered_by": self.rendered_by,
            "numbers": list(numbers),
            "sha256": {name: _file_digest(self.images / name) for name in names},
            "entries": entries,
        }
        write_text(path, json.dumps(content))
        return True, entries

    def _load(self, path: Path, numbers: Sequence[int]) -> list[Entries] | None:
        try:
            content = read_json(path)
            if (content["rendered_by"], content["numbers"]) != (self.rendered_by, list(numbers)):
                return None
            if any(_file_digest(self.images / name) != digest for name, digest in content["sha256"].items()):
                return None
            return [(picture, people) for picture, people in content["entries"]]
        except (OSError, AttributeError, KeyError, TypeError, ValueError):  # absent, or not as it was written
            return None

    def _render(self, number: int) -> Entries:
        rng = np.random.default_rng((self.seed, zlib.crc32(self.images.name.encode()), number))
        image, labels = render_scene(rng, self.settings, self.skeleton, self.poses)
        path = self.images / f"{number:06d}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(encoded.tobytes())
        width, height = self.settings.image_size
        picture = {"id": number, "file_name": path.name, "width": width, "height": height}
        return {**picture, "crowdIndex": labels.crowd_index}, _annotations(number, labels)


def _each(writer: _ChunkWriter, chunks: Sequence[Sequence[int]], workers: int) -> Iterator[tuple[bool, list[Entries]]]:
    if workers <= 1:
        yield from map(writer, chunks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(writer, chunks)
    except BrokenProcessPool:
        raise InputError(
            f"one of {workers} rendering processes was lost (is memory short? fewer workers take less); what was "
            "rendered is kept, and the same command goes on from there"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no orphan behind when the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _annotations(image_id: int, labels: Labels) -> list[dict[str, Any]]:
    """Return the people of an image and its crowd, whose mask is run lengths by columns, from a pixel outside."""
    entries = [
        person_entry(image_id * IDS_PER_IMAGE + person, image_id, box, area, keypoints)
        for person, (box, area, keypoints) in enumerate(
            zip(labels.boxes.tolist(), labels.areas.tolist(), labels.keypoints, strict=True)
        )
    ]
    region = labels.crowd
    if region is not None:
        box = [float(side) for side in cv2.boundingRect(region.astype(np.uint8))]
        nobody = np.zeros(labels.keypoints.shape[1:], int)
        last = (image_id + 1) * IDS_PER_IMAGE - 1
        crowd = person_entry(last, image_id, box, float(np.count_nonzero(region)), nobody, iscrowd=1)
        changes = np.flatnonzero(np.diff(region.T.ravel(), prepend=False))
        counts = np.diff(changes, prepend=0, append=region.size).tolist()
        entries.append({**crowd, "segmentation": {"size": list(region.shape), "counts": counts}})
    return entries


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
