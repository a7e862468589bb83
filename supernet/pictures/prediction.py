"""The people of a folder of pictures or of a video: found, drawn, and written in COCO's form."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import Field, InstanceOf

from litepose_ofa.supernet.data.coco.dataset import OnBadImage
from litepose_ofa.supernet.data.image_files import BadImageError
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.inference import predict_stream
from litepose_ofa.supernet.evaluation.people import Image, People, PeoplePredictor
from litepose_ofa.supernet.evaluation.results import CATEGORY_ID, DECIMALS, SCORE_DECIMALS, write_results
from litepose_ofa.supernet.files import naming, replacing, require_regular, write_json
from litepose_ofa.supernet.pictures.drawing import draw_people, make_sheet, resized_with_people
from litepose_ofa.supernet.pictures.files import MOST_MEGAPIXELS, find_pictures, read_picture, require_picture_size
from litepose_ofa.supernet.pictures.videos import VideoReader, replacing_video
from litepose_ofa.supernet.validation import Checked, Count, Whole, settings

logger = logging.getLogger(__name__)

PICTURES_FOLDER = "pictures"
LOG_FILE = "predictions.jsonl"
RESULTS_FILE = "predictions.json"
IMAGES_FILE = "images.json"
SHEET_FILE = "sheet.png"
SHEET_COLUMNS = 4
SHEET_SIDE = 240
"""Longer side of a picture on the sheet, in pixels."""


@settings
class PredictionOptions:
    """How pictures are read and drawn.

    People below ``min_score`` are recorded, but not drawn; the first ``sheet`` pictures are drawn on one sheet too; a
    picture of more than ``max_megapixels`` is a bad one.
    """

    batch_size: Count
    min_score: Annotated[float, Field(ge=-1, le=1)]
    sheet: Whole
    on_bad_image: OnBadImage
    max_megapixels: Annotated[float, Field(gt=0, le=MOST_MEGAPIXELS)]


class _Person(Checked):
    keypoints: list[float]
    score: float


class _Picture(Checked):
    file_name: InstanceOf[str]  # which need not be UTF-8
    width: Count
    height: Count
    file: list[int]
    people: list[_Person]


@dataclass
class Prediction:
    """Finds the people of pictures or of a video, and draws and records them in a folder.

    Attributes:
        source: Picture, folder of pictures, or video.
        folder: Where pictures and predictions go.
        predictor: Finds the people.
        options: How pictures are read and drawn.
        progress: Called with the number of pictures or frames done since the last call.
        count: Pictures or frames recorded in the folder, ``predicted`` of them by this process.
        skipped: Pictures that could not be read or written.
        people: Recorded people of at least ``options.min_score``.
    """

    source: Path
    folder: Path
    predictor: PeoplePredictor
    options: PredictionOptions
    progress: Callable[[int], object] = lambda done: None
    count: int = field(default=0, init=False)
    predicted: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    people: int = field(default=0, init=False)

    def predict_pictures(self) -> Path:
        """Predict the pictures that the folder has no record of, and return the file of all people in COCO's form.

        Raises:
            InputError: If no picture can be read, or one cannot, where that is to be an error.
        """
        root = self.source if self.source.is_dir() else self.source.parent
        done = self._drop_outdated(root)
        self.progress(len(done))
        with naming(self._log), self._log.open("a", encoding="utf-8") as log:
            images = self._read_pictures(root, done)
            for path, image, people in predict_stream(self.predictor, images, batch_size=self.options.batch_size):
                name = path.relative_to(root)
                try:
                    _write_picture(self._drawn(name), self._draw(image, people))
                except BadImageError as error:
                    self._skip(error)
                    continue
                entry = {"file_name": name.as_posix(), **_size(image), "file": _fingerprint(path)}
                log.write(_line({**entry, "people": _plain(people)}))
                log.flush()  # a later process goes on from here even if this one is killed
                self.predicted += 1
                self.progress(1)
        if len(done) + self.predicted == 0:
            raise InputError(f"{self.source}: not one of {self.skipped} pictures can be read")
        results = self.folder / RESULTS_FILE
        write_results(results, self._results())
        self._write_images()
        if self.options.sheet:
            self._write_sheet(root)
        return results

    def predict_video(self) -> Path:
        """Predict all frames, and return the drawn video; video and record appear when they are whole.

        Raises:
            InputError: If no frame can be read, one is too large, or OpenCV has no encoder.
        """
        target = self.folder / f"{self.source.stem}.mp4"
        with (
            VideoReader(self.source) as video,
            replacing_video(target, video.frame_rate) as writer,
            replacing(self._log) as temporary,
            temporary.open("w", encoding="utf-8") as log,
        ):
            frames = enumerate(self._checked(video))
            for index, image, people in predict_stream(self.predictor, frames, batch_size=self.options.batch_size):
                log.write(_line({"frame": index, **_size(image), "people": _plain(people)}))
                writer.write(self._draw(image, people))
                self._add(people[1])
                self.predicted += 1
                self.progress(1)
            if self.predicted == 0:
                raise InputError(f"{self.source}: holds no frame that can be read")
        return target

    @property
    def _log(self) -> Path:
        return self.folder / LOG_FILE

    def _drawn(self, name: Path | str) -> Path:
        return self.folder / PICTURES_FOLDER / name

    def _draw(self, image: Image, people: People) -> Image:
        shown = people[1] >= self.options.min_score
        return draw_people(image, people[0][shown], self.predictor.skeleton, scores=people[1][shown])

    def _add(self, scores: Iterable[float]) -> None:
        self.count += 1
        self.people += sum(score >= self.options.min_score for score in scores)

    def _skip(self, error: BadImageError) -> None:
        if self.options.on_bad_image == "error":
            raise error
        logger.warning("skipped %s", error)
        self.skipped += 1
        self.progress(1)

    def _drop_outdated(self, root: Path) -> set[str]:
        """Keep the records of pictures that are as they were and drawn, and return their names."""
        done = set()
        with replacing(self._log) as temporary, temporary.open("w", encoding="utf-8") as log:
            for entry in _read_log(self._log):
                source, drawn = root / entry.file_name, self._drawn(entry.file_name)
                unchanged = source.is_file() and _fingerprint(source) == entry.file
                if unchanged and drawn.is_file() and drawn.stat().st_size > 0:
                    log.write(_line(entry.model_dump()))
                    done.add(entry.file_name)
        return done

    def _read_pictures(self, root: Path, done: set[str]) -> Iterator[tuple[Path, Image]]:
        for path in find_pictures(self.source):
            if path.relative_to(root).as_posix() not in done:
                try:
                    yield path, read_picture(path, max_megapixels=self.options.max_megapixels)
                except BadImageError as error:
                    self._skip(error)

    def _checked(self, video: VideoReader) -> Iterator[Image]:
        for frame in video:
            require_picture_size(self.source, frame.shape[1], frame.shape[0], self.options.max_megapixels)
            yield frame

    def _results(self) -> Iterator[dict[str, Any]]:
        for image_id, entry in enumerate(_read_log(self._log), start=1):
            self._add(person.score for person in entry.people)
            for person in entry.people:
                yield {"image_id": image_id, **person.model_dump()}

    def _write_images(self) -> None:
        """Write the pictures as a COCO dataset without annotations."""
        skeleton = self.predictor.skeleton
        limbs = [[start + 1, end + 1] for start, end in skeleton.limbs]
        category = {"id": CATEGORY_ID, "name": "person", "keypoints": skeleton.keypoints, "skeleton": limbs}
        images = [
            {"id": image_id, **entry.model_dump(include={"file_name", "width", "height"})}
            for image_id, entry in enumerate(_read_log(self._log), start=1)
        ]
        write_json(self.folder / IMAGES_FILE, {"images": images, "annotations": [], "categories": [category]})

    def _write_sheet(self, root: Path) -> None:
        tiles = []
        for entry in islice(_read_log(self._log), self.options.sheet):
            image = read_picture(root / entry.file_name, max_megapixels=self.options.max_megapixels)
            scores = np.array([person.score for person in entry.people], np.float32)
            keypoints = np.array([person.keypoints for person in entry.people], np.float32)
            image, moved = resized_with_people(image, keypoints.reshape(len(scores), -1, 3), SHEET_SIDE)
            tiles.append(self._draw(image, (moved, scores)))
        _write_picture(self.folder / SHEET_FILE, make_sheet(tiles, columns=SHEET_COLUMNS))


def _read_log(path: Path) -> Iterator[_Picture]:
    """Yield the entries of a record, none if it is absent, up to the first line that a kill tore."""
    require_regular(path)
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                try:
                    yield _Picture.model_validate(json.loads(line))
                except ValueError:
                    return


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _size(image: Image) -> dict[str, int]:
    return {"width": image.shape[1], "height": image.shape[0]}


def _plain(people: People) -> list[dict[str, Any]]:
    """Return people best first, rounded as in COCO's form."""
    return [
        {
            "keypoints": [round(number, DECIMALS) for number in keypoints.ravel().tolist()],
            "score": round(score, SCORE_DECIMALS),
        }
        for keypoints, score in zip(people[0], people[1].tolist(), strict=True)
    ]


def _fingerprint(path: Path) -> list[int]:
    """Return the size in bytes and the time of the last change in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _write_picture(path: Path, image: Image) -> None:
    """Write a drawn picture; raise ``BadImageError`` if its format cannot hold it."""
    try:
        written, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        written, encoded = False, np.zeros(0, np.uint8)
    if not written:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise BadImageError(f"{path}: cannot be written, for OpenCV does not encode {size} as {path.suffix}")
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(encoded.tobytes())
