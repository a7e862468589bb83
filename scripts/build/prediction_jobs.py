"""The two jobs of ``predict``, a folder of pictures and a video: read, predict, draw, record, go on."""

import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.scripts.build.pose_models import PoseNetwork
from litepose_ofa.supernet.data.coco.dataset import OnBadImage
from litepose_ofa.supernet.data.image_files import BadImageError
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation.people import Image, People
from litepose_ofa.supernet.evaluation.prediction_log import (
    Entry,
    PredictionLog,
    entry_people,
    keep_entries,
    people_entry,
    read_entries,
    write_coco_files,
)
from litepose_ofa.supernet.evaluation.streaming import predict_stream
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.pictures.drawing import draw_people, make_sheet, resized_with_people
from litepose_ofa.supernet.pictures.files import (
    MOST_MEGAPIXELS,
    find_pictures,
    read_picture,
    require_picture_size,
)
from litepose_ofa.supernet.pictures.videos import VideoReader, replacing_video

logger = logging.getLogger(__name__)

PICTURES_FOLDER = "pictures"
LOG_FILE = "predictions.jsonl"
RESULTS_FILE = "predictions.json"
IMAGES_FILE = "images.json"
SHEET_FILE = "sheet.png"
SHEET_COLUMNS = 4
SHEET_SIDE = 240
"""Longer side of a picture on the sheet, in pixels."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is read and drawn, and how; see ``conf/predict.yaml``."""

    batch_size: int
    min_score: float
    sheet: int
    on_bad_image: OnBadImage
    max_megapixels: float

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Options":
        """Read the options and check them.

        Raises:
            InputError: If one is of another type or out of range.
        """
        batch_size, sheet, score, megapixels = cfg.batch_size, cfg.sheet, cfg.min_score, cfg.max_megapixels
        require(type(batch_size) is int and batch_size >= 1, "batch_size", batch_size, "an integer of at least 1")
        require(type(sheet) is int and sheet >= 0, "sheet", sheet, "an integer of at least 0")
        require(type(score) in (int, float), "min_score", score, "a number")
        require(cfg.on_bad_image in get_args(OnBadImage), "on_bad_image", cfg.on_bad_image, "'error' or 'skip'")
        allowed = type(megapixels) in (int, float) and 0 < megapixels <= MOST_MEGAPIXELS
        require(allowed, "max_megapixels", megapixels, f"a number above 0, to {MOST_MEGAPIXELS}")
        return cls(batch_size, score, sheet, cfg.on_bad_image, megapixels)


@dataclass
class Job:
    """A source, the network that looks at it, and the folder that takes what it finds.

    Attributes:
        source: Picture, folder or video.
        folder: Where pictures and predictions go.
        network: What finds the people.
        options: How.
        predicted: Pictures or frames that this process has predicted.
        skipped: Pictures that could not be read or written.
    """

    source: Path
    folder: Path
    network: PoseNetwork
    options: Options
    predicted: int = 0
    skipped: int = 0

    @property
    def log_path(self) -> Path:
        """The record of what is done."""
        return self.folder / LOG_FILE

    @property
    def pictures_path(self) -> Path:
        """The folder of drawn pictures."""
        return self.folder / PICTURES_FOLDER

    @property
    def video_path(self) -> Path:
        """The drawn video."""
        return self.folder / f"{self.source.stem}.mp4"

    def predict(self, images: Iterator[tuple[Any, Image]]) -> Iterator[tuple[Any, Image, People]]:
        """Find the people in a stream of images."""
        for found in predict_stream(self.network.predictor, images, batch_size=self.options.batch_size):
            self.predicted += 1
            yield found

    def draw(self, image: Image, people: People) -> Image:
        """Draw the people that are sure enough."""
        shown = people[1] >= self.options.min_score
        return draw_people(image, people[0][shown], self.network.skeleton, scores=people[1][shown])


def predict_pictures(job: Job, total: int) -> Path:
    """Predict the pictures that are not done, write the files in COCO's form, and return that of the people.

    Raises:
        InputError: If not one of the ``total`` pictures can be read, or one, where that is to be an error.
    """
    root = job.source if job.source.is_dir() else job.source.parent
    keep_entries(job.log_path, lambda entry: _is_done(entry, root, job.pictures_path))
    done = {entry["file_name"] for entry in read_entries(job.log_path)}
    with tqdm(total=total, initial=len(done), unit="picture", disable=None) as bar, PredictionLog(job.log_path) as log:
        for path, image, people in job.predict(_read_pictures(job, root, done, bar)):
            name = path.relative_to(root)
            try:
                _write_picture(job.pictures_path / name, job.draw(image, people))
            except BadImageError as error:
                _skip(job, error, bar)
                continue
            entry = {"file_name": name.as_posix(), "width": image.shape[1], "height": image.shape[0]}
            log.append({**entry, "file": fingerprint(path), "people": people_entry(people)})
            bar.update()
    if job.skipped == total:
        raise InputError(f"{job.source}: not one of {total} pictures can be read")
    results = job.folder / RESULTS_FILE
    write_coco_files(job.log_path, results, job.folder / IMAGES_FILE, job.network.skeleton)
    if job.options.sheet:
        _write_sheet(job, root)
    return results


def _is_done(entry: Entry, root: Path, drawn: Path) -> bool:
    source = root / entry["file_name"]
    unchanged: bool = source.is_file() and fingerprint(source) == entry.get("file")
    return unchanged and _is_written(drawn / entry["file_name"])


def _is_written(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def fingerprint(path: Path) -> list[int]:
    """Return the size in bytes and the time of the last change in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read_pictures(job: Job, root: Path, done: set[str], bar: Any) -> Iterator[tuple[Path, Image]]:
    for path in find_pictures(job.source):
        if path.relative_to(root).as_posix() in done:
            continue
        try:
            yield path, read_picture(path, max_megapixels=job.options.max_megapixels)
        except BadImageError as error:
            _skip(job, error, bar)


def _skip(job: Job, error: BadImageError, bar: Any) -> None:
    if job.options.on_bad_image == "error":
        raise error
    logger.warning("skipped %s", error)
    job.skipped += 1
    bar.update()


def _write_picture(path: Path, image: Image) -> None:
    """Write a drawn picture.

    Raises:
        BadImageError: If its format cannot hold it, or the system has no name that long.
    """
    try:
        written, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        written, encoded = False, np.zeros(0, np.uint8)
    if not written:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise BadImageError(f"{path}: cannot be written, for OpenCV does not encode {size} as {path.suffix}")
    try:
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(encoded.tobytes())
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise BadImageError(f"{path}: cannot be written ({error.strerror})") from None


def _write_sheet(job: Job, root: Path) -> None:
    tiles = []
    for entry in islice(read_entries(job.log_path), job.options.sheet):
        image = read_picture(root / entry["file_name"], max_megapixels=job.options.max_megapixels)
        keypoints, scores = entry_people(entry, job.network.skeleton.num_keypoints)
        image, keypoints = resized_with_people(image, keypoints, SHEET_SIDE)
        tiles.append(job.draw(image, (keypoints.astype(np.float32), scores)))
    _write_picture(job.folder / SHEET_FILE, make_sheet(tiles, columns=SHEET_COLUMNS))


def predict_video(job: Job, total: int) -> Path:
    """Predict the frames that are not done, about ``total``, and return the drawn video, unless it is there already.

    Raises:
        InputError: If no frame can be read, one is too large, or OpenCV has no encoder.
    """
    target = job.video_path
    if _is_written(target):
        return target
    keep_entries(job.log_path, lambda entry: True)
    done = sum(1 for _ in read_entries(job.log_path))
    with (
        VideoReader(job.source) as video,
        replacing_video(target, video.frame_rate) as writer,
        PredictionLog(job.log_path) as log,
        tqdm(total=total or None, unit="frame", disable=None) as bar,
    ):
        frames = enumerate(_checked(job, video))
        known = read_entries(job.log_path)
        for (_, image), entry in zip(islice(frames, done), known, strict=False):
            writer.write(job.draw(image, entry_people(entry, job.network.skeleton.num_keypoints)))
            bar.update()
        for index, image, people in job.predict(frames):
            entry = {"frame": index, "width": image.shape[1], "height": image.shape[0]}
            log.append({**entry, "people": people_entry(people)})
            writer.write(job.draw(image, people))
            bar.update()
        if done + job.predicted == 0:
            raise InputError(f"{job.source}: holds no frame that can be read")
    return target


def _checked(job: Job, video: VideoReader) -> Iterator[Image]:
    for frame in video:
        require_picture_size(job.source, frame.shape[1], frame.shape[0], job.options.max_megapixels)
        yield frame
