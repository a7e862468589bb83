"""Rendered people as a COCO-format folder: images and annotations, from one seed."""

import json
import multiprocessing
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from supernet.data.skeletons import Skeleton
from supernet.data.synthetic_poses import AnnotatedPoses, Kinematics, PoseSource
from supernet.data.synthetic_scenes import PeopleSettings, Scene, crowd_index, render_scene
from supernet.errors import InputError
from supernet.files import replacing, write_text

__all__ = ["PeopleSettings", "generate_split", "split_paths"]

CHUNK = 32
"""Images that a worker process renders before it reports."""

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

    An image depends on the seed, the split and its number alone. A split that has its JSON is finished and is left as
    it is; one that was interrupted is rendered again.

    Args:
        folder: Root of the dataset.
        split: Name of the split.
        count: Number of images.
        seed: Seed of all randomness.
        settings: What the images show.
        skeleton: The keypoints to annotate.
        poses_from: A COCO-format annotation file of the same skeleton to take poses from, instead of kinematics.
        workers: Processes that render.
        on_progress: Called with the number of images done since the last call.

    Returns:
        The number of images written: ``count``, or 0 if the split was there.

    Raises:
        InputError: If the count is not positive, or ``poses_from`` is not a usable annotation file.
    """
    annotations, images = split_paths(Path(folder), split)
    if annotations.exists():
        return 0
    if count < 1:
        raise InputError(f"split {split!r} has {count} images; it must have at least one")
    poses = AnnotatedPoses.load(poses_from, skeleton) if poses_from else Kinematics(from_behind=settings.from_behind)
    images.mkdir(parents=True, exist_ok=True)
    writer = _ImageWriter(images, zlib.crc32(split.encode()), seed, settings, skeleton, poses)
    content: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [_category(skeleton)]}
    for picture, people in _each(writer, range(1, count + 1), workers):
        content["images"].append(picture)
        content["annotations"].extend(people)
        if on_progress:
            on_progress(1)
    write_text(annotations, json.dumps(content))
    return count


@dataclass(frozen=True, slots=True)
class _ImageWriter:
    """Renders and writes one image by its number; returns its entry and its people's in the annotation JSON."""

    folder: Path
    split: int
    seed: int
    settings: PeopleSettings
    skeleton: Skeleton
    poses: PoseSource

    def __call__(self, number: int) -> Entries:
        rng = np.random.default_rng((self.seed, self.split, number))
        scene = render_scene(rng, self.settings, self.skeleton, self.poses)
        path = self.folder / f"{number:06d}.jpg"
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), quality)
        with replacing(path) as temporary:
            encoded.tofile(temporary)
        width, height = self.settings.image_size
        crowding = round(crowd_index(scene.keypoints, scene.boxes), 2)
        picture = {"id": number, "file_name": path.name, "width": width, "height": height, "crowdIndex": crowding}
        return picture, [_annotation(number, person, scene) for person in range(len(scene.keypoints))]


def _each(writer: _ImageWriter, numbers: Sequence[int], workers: int) -> Iterator[Entries]:
    if workers <= 1:
        yield from map(writer, numbers)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_leave_interrupts_to_parent)
    try:
        yield from pool.map(writer, numbers, chunksize=CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _annotation(image_id: int, person: int, scene: Scene) -> dict[str, Any]:
    keypoints = scene.keypoints[person]
    return {
        "id": image_id * 100 + person,
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


def _category(skeleton: Skeleton) -> dict[str, Any]:
    limbs = [[start + 1, end + 1] for start, end in skeleton.limbs]
    names = list(skeleton.keypoints)
    return {"id": 1, "name": "person", "supercategory": "person", "keypoints": names, "skeleton": limbs}
