"""Predicted people of many images: compact in memory, in COCO's results format on disk.

Legend: N people, K keypoints. Points are in the image frame, in pixels.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
Result = dict[str, Any]
"""A person in COCO result form: image_id, category_id, keypoints (3K numbers: x, y, score), score."""

CATEGORY_ID = 1
"""Person, in COCO and CrowdPose, and where a dataset does not say."""

DECIMALS = 3
"""Of coordinates and keypoint scores in a file: a thousandth of a pixel changes no printed digit of an AP."""

SCORE_DECIMALS = 6
"""Of a person's score, whose order AP depends on."""


@dataclass(frozen=True, slots=True, eq=False)
class PeopleResults:
    """People as arrays, 12 bytes a keypoint in single precision; iterated over, in COCO result form.

    Keypoints are x, y in image pixels and score, shape (N, K, 3); images and scores of people have the shape (N,).
    """

    image_ids: IntArray
    keypoints: FloatArray
    scores: FloatArray
    category_id: int = CATEGORY_ID

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Result]:
        for image_id, keypoints, score in zip(self.image_ids, self.keypoints, self.scores, strict=True):
            yield {
                "image_id": int(image_id),
                "category_id": self.category_id,
                "keypoints": keypoints.ravel().tolist(),
                "score": float(score),
            }


def as_people_results(predictions: PeopleResults | Iterable[Mapping[str, Any]], num_keypoints: int) -> PeopleResults:
    """Return predictions as arrays, checked; of people in COCO result form, a category id is not looked at.

    Raises:
        InputError: If one has no image id, other than 3K finite numbers or no finite score; the message counts from 0.
    """
    if not isinstance(predictions, PeopleResults):
        return _gathered(list(predictions), num_keypoints)
    if predictions.keypoints.shape[1:] != (num_keypoints, 3):
        found = predictions.keypoints.shape[1]
        raise InputError(f"the predictions have {found} keypoints; the annotations have {num_keypoints}")
    finite = np.isfinite(predictions.keypoints).all(axis=(1, 2)) & np.isfinite(predictions.scores)
    if not finite.all():
        raise InputError(f"prediction {finite.argmin()}: keypoints and score must be finite numbers")
    return predictions


def _gathered(predictions: list[Mapping[str, Any]], num_keypoints: int) -> PeopleResults:
    image_ids = np.empty(len(predictions), np.int64)
    keypoints = np.empty((len(predictions), 3 * num_keypoints))
    scores = np.empty((len(predictions), 1))
    for row, person in enumerate(predictions):
        image_id = person.get("image_id") if isinstance(person, Mapping) else None
        if not isinstance(image_id, int | np.integer) or isinstance(image_id, bool):
            raise InputError(f"prediction {row} is of image {image_id!r}; it must be an integer")
        image_ids[row] = image_id
        keypoints[row] = _finite(f"prediction {row}: 'keypoints'", person.get("keypoints"), 3 * num_keypoints)
        scores[row] = _finite(f"prediction {row}: 'score'", [person.get("score")], 1)
    return PeopleResults(image_ids, keypoints.reshape(-1, num_keypoints, 3), scores[:, 0])


def _finite(where: str, value: object, count: int) -> FloatArray:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.full(0, np.nan)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f"{where} must be {count} finite number{'s' if count > 1 else ''}")
    return numbers


def write_results(path: Path | str, predictions: Iterable[Mapping[str, Any]]) -> None:
    """Write people as a COCO keypoint results file, which the evaluation servers and ``evaluate_keypoints`` take.

    Source: the results format of cocodataset.org. Numbers are rounded. People are taken one after the other, so that
    memory does not grow with them.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        separator = "["
        for person in predictions:
            rounded = {
                "image_id": person["image_id"],
                "category_id": person.get("category_id", CATEGORY_ID),
                "keypoints": [round(number, DECIMALS) for number in person["keypoints"]],
                "score": round(person["score"], SCORE_DECIMALS),
            }
            file.write(f"{separator}\n{json.dumps(rounded)}")
            separator = ","
        file.write("[]\n" if separator == "[" else "\n]\n")
