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
import numpy.typing as npt

from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.annotated import AnnotatedLayouts, AnnotatedPoses
from litepose_ofa.supernet.data.synthetic.chunks import ChunkStore, Entries, file_digest
from litepose_ofa.supernet.data.synthetic.crowding import CROWD_INDEX_DECIMALS
from litepose_ofa.supernet.data.synthetic.labels import crowd_index
from litepose_ofa.supernet.data.synthetic.poses import PoseSource
from litepose_ofa.supernet.data.synthetic.scenes import Scene, kinematics, render_scene
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, replacing, write_text

__all__ = ["PeopleSettings", "generate_split", "split_paths"]

CHUNK = 32
"""Images that are kept together when a run is killed."""

IDS_PER_IMAGE = 100
"""The last of an image's ids is its crowd's."""


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
        count: Number of images.
        seed: Seed of all randomness.
        settings: What the images show.
        skeleton: The keypoints to annotate.
        poses_from: A COCO-format annotation file of the same skeleton to take poses from, instead of kinematics.
        workers: Processes that render.
        on_progress: Called with the number of images done since the last call, once a chunk.

    Returns:
        The number of images written: ``count`` less those of finished chunks, or 0 if the split was there.

    Raises:
        InputError: If the count is not positive, or ``poses_from`` is not a usable annotation file, or is missing
            though people are to be where it says.
    """
    annotations, images = split_paths(Path(folder), split)
    chunks_folder = annotations.with_name(f".{split}.chunks")
    if _is_finished(annotations, images):
        shutil.rmtree(chunks_folder, ignore_errors=True)  # a run was killed before it removed all of them
        return 0
    if count < 1:
        raise InputError(f"split {split!r} has {count} images; it must have at least one")
    poses = _poses(settings, skeleton, poses_from)
    images.mkdir(parents=True, exist_ok=True)
    origin = _origin(split, seed, settings, skeleton, poses_from)
    store = ChunkStore(chunks_folder, images, origin)
    writer = _ChunkWriter(store, zlib.crc32(split.encode()), seed, settings, skeleton, poses)
    chunks = [range(first, min(first + CHUNK, count + 1)) for first in range(1, count + 1, CHUNK)]
    content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [_category(skeleton)]}
    written = 0
    for fresh, entries in _each(writer, chunks, workers):
        content["images"].extend(picture for picture, _ in entries)
        content["annotations"].extend(person for _, people in entries for person in people)
        written += len(entries) if fresh else 0
        if on_progress:
            on_progress(len(entries))
    write_text(annotations, json.dumps(content))
    shutil.rmtree(store.folder)
    return written


def _is_finished(annotations: Path, images: Path) -> bool:
    """Say whether a split's JSON is whole and no image is missing or, as after a power failure, empty."""
    try:
        names = [picture["file_name"] for picture in read_json(annotations)["images"]]
        return all((images / name).stat().st_size for name in names)
    except (InputError, OSError, KeyError, TypeError):
        return False


def _poses(
    settings: PeopleSettings, skeleton: Skeleton, poses_from: Path | str | None
) -> PoseSource | AnnotatedLayouts:
    if settings.placement == "annotated":
        if poses_from is None:
            raise InputError("placement=annotated needs an annotation file in poses_from")
        return AnnotatedLayouts.load(poses_from, skeleton)
    if poses_from is not None:
        return AnnotatedPoses.load(poses_from, skeleton, complete=settings.self_occlusion)
    return kinematics(settings)


def _origin(split: str, seed: int, settings: PeopleSettings, skeleton: Skeleton, poses_from: Path | str | None) -> str:
    """Return a digest of all that a split's images depend on, the versions that draw them included."""
    poses = file_digest(Path(poses_from)) if poses_from else None
    parts = (split, seed, settings, skeleton, poses, cv2.__version__, np.__version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _ChunkWriter:
    """Renders and writes the images of a chunk that is not there yet."""

    store: ChunkStore
    split: int
    seed: int
    settings: PeopleSettings
    skeleton: Skeleton
    poses: PoseSource | AnnotatedLayouts

    def __call__(self, numbers: Sequence[int]) -> tuple[bool, list[Entries]]:
        """Return whether the chunk was rendered now, and its images' entries."""
        finished = self.store.load(numbers)
        if finished is not None:
            return False, finished
        entries = [self._write(number) for number in numbers]
        self.store.save(numbers, entries)
        return True, entries

    def _write(self, number: int) -> Entries:
        rng = np.random.default_rng((self.seed, self.split, number))
        scene = render_scene(rng, self.settings, self.skeleton, self.poses)
        path = self.store.images / f"{number:06d}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), quality)
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(encoded.tobytes())
        width, height = self.settings.image_size
        crowding = round(crowd_index(scene.keypoints, scene.boxes), CROWD_INDEX_DECIMALS)
        picture = {"id": number, "file_name": path.name, "width": width, "height": height, "crowdIndex": crowding}
        if scene.source_id is not None:
            picture["source_id"] = scene.source_id
        people = [_annotation(number, person, scene) for person in range(len(scene.keypoints))]
        return picture, people if scene.crowd is None else [*people, _crowd(number, scene.crowd, self.skeleton)]


_worker: _ChunkWriter


def _each(writer: _ChunkWriter, chunks: Sequence[Sequence[int]], workers: int) -> Iterator[tuple[bool, list[Entries]]]:
    if workers <= 1:
        yield from map(writer, chunks)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(writer,))
    try:
        yield from pool.map(_work, chunks)
    except BrokenProcessPool:
        raise InputError(
            f"one of {workers} rendering processes was lost (is memory short? fewer workers take less); what was "
            "rendered is kept, and the same command goes on from there"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(writer: _ChunkWriter) -> None:
    global _worker
    _worker = writer
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no orphan behind when the parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(numbers: Sequence[int]) -> tuple[bool, list[Entries]]:
    return _worker(numbers)


def _annotation(image_id: int, person: int, scene: Scene) -> dict[str, Any]:
    keypoints = scene.keypoints[person]
    return {
        "id": image_id * IDS_PER_IMAGE + person,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": scene.boxes[person].tolist(),
        "area": float(scene.areas[person]),
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        "keypoints": [
            int(value) if i % 3 == 2 else round(value, 2) for i, value in enumerate(keypoints.ravel().tolist())
        ],
    }


def _crowd(image_id: int, region: npt.NDArray[np.bool_], skeleton: Skeleton) -> dict[str, Any]:
    """Return a crowd's annotation; its segmentation is COCO's run lengths, by columns, from a pixel outside."""
    columns = region.T.ravel()
    changes = np.flatnonzero(np.diff(columns, prepend=False))
    height, width = region.shape
    return {
        "id": image_id * IDS_PER_IMAGE + IDS_PER_IMAGE - 1,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 1,
        "bbox": [float(side) for side in cv2.boundingRect(region.astype(np.uint8))],
        "area": float(np.count_nonzero(region)),
        "num_keypoints": 0,
        "keypoints": [0] * (3 * skeleton.num_keypoints),
        "segmentation": {
            "size": [height, width],
            "counts": np.diff(changes, prepend=0, append=columns.size).tolist(),
        },
    }


def _category(skeleton: Skeleton) -> dict[str, Any]:
    limbs = [[start + 1, end + 1] for start, end in skeleton.limbs]
    names = list(skeleton.keypoints)
    return {"id": 1, "name": "person", "supercategory": "person", "keypoints": names, "skeleton": limbs}
