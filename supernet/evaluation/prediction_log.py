"""Predictions as they come: a line of JSON a picture or frame, kept through interruptions; then files in COCO's form.

Legend: N people, K keypoints. Points are in the image frame, in pixels.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.people import People
from litepose_ofa.supernet.evaluation.results import CATEGORY_ID, DECIMALS, SCORE_DECIMALS
from litepose_ofa.supernet.files import naming, replacing, require_regular

Entry = dict[str, Any]
"""One picture or frame: what it is (``file_name`` or ``frame``, ``width``, ``height``, ...) and its ``people``."""


class PredictionLog:
    """A file of JSON lines that an interrupted run leaves usable, to be appended to.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def append(self, entry: Entry) -> None:
        """Add a line, which a later process can read even if this one is killed right after."""
        with naming(self._path):
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with naming(self._path):
            self._file.close()


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a log, none if it is absent, up to the first line that is not one: a kill tore it.

    Raises:
        InputError: If the path leads to something else than a file.
    """
    require_regular(path)
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:  # also of an integer of thousands of digits
                return
            if not line.endswith("\n") or not _is_entry(entry):
                return
            yield entry


def _is_entry(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("people"), list):
        return False
    named = isinstance(value.get("file_name"), str) or type(value.get("frame")) is int
    sized = type(value.get("width")) is type(value.get("height")) is int
    return named and sized and all(map(_is_person, value["people"]))


def _is_person(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("keypoints"), list):
        return False
    numbers = [*value["keypoints"], value.get("score")]
    return len(numbers) % 3 == 1 and set(map(type, numbers)) <= {int, float} and math.isfinite(sum(numbers))


def keep_entries(path: Path, keep: Callable[[Entry], bool]) -> None:
    """Rewrite a log with the entries that ``keep`` approves of; a torn line goes too."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for entry in read_entries(path):
            if keep(entry):
                file.write(json.dumps(entry, separators=(",", ":")) + "\n")


def people_entry(people: People) -> list[Entry]:
    """Return people as plain values, best first: ``keypoints``, 3K numbers x, y, response, and ``score``."""
    return [
        {
            "keypoints": [round(number, DECIMALS) for number in keypoints.ravel().tolist()],
            "score": round(score, SCORE_DECIMALS),
        }
        for keypoints, score in zip(people[0], people[1].tolist(), strict=True)
    ]


def entry_people(entry: Mapping[str, Any], num_keypoints: int) -> People:
    """Return the people of an entry: keypoints, shape (N, K, 3), and scores, shape (N,).

    Raises:
        InputError: If they have another number of keypoints.
    """
    people = entry["people"]
    if any(len(person["keypoints"]) != 3 * num_keypoints for person in people):
        raise InputError(f"the record of predictions has people of other than {num_keypoints} keypoints; remove it")
    keypoints = np.array([person["keypoints"] for person in people], np.float32)
    return keypoints.reshape(-1, num_keypoints, 3), np.array([person["score"] for person in people], np.float32)


def write_coco_files(log: Path, results: Path, images: Path, skeleton: Skeleton) -> None:
    """Write a log of pictures as a COCO keypoint results file, and the pictures it is about as a COCO dataset.

    ``COCO(images).loadRes(results)`` opens the two with pycocotools. Entries are read one at a time, so that memory
    does not grow with them.

    Args:
        log: Entries with ``file_name``, ``width`` and ``height``; image ids count them from 1.
        results: The file of people: ``image_id``, ``category_id``, ``keypoints`` and ``score`` each.
        images: The file of pictures, without annotations, and of the keypoints' names and limbs.
        skeleton: The K keypoints.
    """
    _write_list(results, "[", _results(log), "]")
    category = {
        "id": CATEGORY_ID,
        "name": "person",
        "keypoints": list(skeleton.keypoints),
        "skeleton": [[start + 1, end + 1] for start, end in skeleton.limbs],
    }
    end = f'],\n"annotations": [],\n"categories": {json.dumps([category])}}}'
    _write_list(images, '{"images": [', _images(log), end)


def _results(log: Path) -> Iterator[Entry]:
    for image_id, entry in enumerate(read_entries(log), start=1):
        for person in entry["people"]:
            yield {"image_id": image_id, "category_id": CATEGORY_ID, **person}


def _images(log: Path) -> Iterator[Entry]:
    for image_id, entry in enumerate(read_entries(log), start=1):
        yield {"id": image_id, **{key: entry[key] for key in ("file_name", "width", "height")}}


def _write_list(path: Path, begin: str, items: Iterable[Entry], end: str) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(begin)
        for number, item in enumerate(items):
            file.write(f"{',' if number else ''}\n{json.dumps(item)}")
        file.write(f"\n{end}\n")
