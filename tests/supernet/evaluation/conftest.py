"""Random people of a skeleton, annotated and predicted, and COCO's own evaluation of them."""

import contextlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.evaluation import compare_people
from litepose_ofa.supernet.evaluation.matching import PeopleComparison
from litepose_ofa.supernet.files import write_json

Json = dict[str, Any]


@dataclass(frozen=True)
class RandomPeople:
    """People of a file, and what was predicted for it."""

    path: Path
    dataset: Json
    predictions: list[Json]
    skeleton: Skeleton

    def compare(self) -> PeopleComparison:
        return compare_people(self.path, self.predictions, self.skeleton)


@pytest.fixture
def random_people(tmp_path: Path) -> Callable[..., RandomPeople]:
    """Write random people; changed, and each image so many times if told so."""

    def write(
        skeleton: Skeleton,
        seed: int = 0,
        *,
        change: Callable[[Json], Json] = lambda dataset: dataset,
        times: Sequence[int] | None = None,
        equal_scores: bool = True,
    ) -> RandomPeople:
        dataset = change(_make_dataset(skeleton, seed))
        predictions = _noisy_predictions(dataset, seed + 10, equal_scores)
        if times is not None:
            dataset, predictions = _repeat_images(dataset, predictions, times)
        write_json(tmp_path / "people.json", dataset)
        return RandomPeople(tmp_path / "people.json", dataset, predictions, skeleton)

    return write


@pytest.fixture(scope="session")
def official_evaluation() -> Callable[..., dict[str, float]]:
    return _official_evaluation


def _official_evaluation(annotations: Path, predictions: str | list[Json], **parameters: Any) -> dict[str, float]:
    """COCO's own numbers, by its own functions."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        evaluation = COCOeval(truth, truth.loadRes(predictions), "keypoints")
        for name, value in parameters.items():
            setattr(evaluation.params, name, np.array(value) if name == "kpt_oks_sigmas" else value)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75")
    return dict(zip(names, evaluation.stats.tolist(), strict=False))


def _make_dataset(skeleton: Skeleton, seed: int) -> Json:
    """Twelve images of up to 30 people of every size, some crowds, some without keypoints."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for image_id in range(100, 112):
        images.append({"id": image_id, "file_name": f"{image_id}.jpg", "width": 640, "height": 480})
        images[-1]["crowdIndex"] = float(rng.uniform())
        for _ in range(int(rng.choice([0, 1, 3, 30], p=[0.1, 0.3, 0.5, 0.1]))):
            width, height = rng.uniform(20, 300, 2)
            left, top = rng.uniform(0, 300, 2)
            points = rng.uniform((left, top), (left + width, top + height), (skeleton.num_keypoints, 2))
            visibility = rng.choice([0, 1, 2], (skeleton.num_keypoints, 1)) * (rng.random() < 0.8)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [left, top, width, height],
                    "area": 0.6 * width * height,
                    "iscrowd": int(rng.random() < 0.1),
                    "keypoints": np.hstack([points * (visibility > 0), visibility]).flatten().tolist(),
                    "num_keypoints": int(np.count_nonzero(visibility)),
                }
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _noisy_predictions(dataset: Json, seed: int, equal_scores: bool) -> list[Json]:
    """Everyone with noise of their own, some missed, some twice, some who are not there, some of one score."""
    rng = np.random.default_rng(seed)
    predictions = []
    for annotation in dataset["annotations"]:
        for _ in range(int(rng.choice([0, 1, 1, 1, 2]))):
            points = np.array(annotation["keypoints"]).reshape(-1, 3).copy()
            points[:, :2] += rng.normal(
                0, rng.uniform(0, 0.1) * math.sqrt(annotation.get("area", 0)), points[:, :2].shape
            )
            image_id = annotation["image_id"] if rng.random() < 0.9 else 105
            predictions.append({"image_id": image_id, "category_id": 1, "keypoints": points.flatten().tolist()})
            predictions[-1]["score"] = float(rng.choice([0.2, rng.uniform()] if equal_scores else [rng.uniform()]))
    return predictions


def _repeat_images(dataset: Json, predictions: list[Json], times: Sequence[int]) -> tuple[Json, list[Json]]:
    """Return each image, its people and its predictions so many times, under ids of their own."""
    images: list[Json] = []
    annotations: list[Json] = []
    found: list[Json] = []
    for image, count in zip(dataset["images"], times, strict=True):
        for _ in range(count):
            copy = {**image, "id": len(images) + 1, "file_name": f"{len(images) + 1}.jpg"}
            images.append(copy)
            for person in dataset["annotations"]:
                if person["image_id"] == image["id"]:
                    annotations.append({**person, "id": len(annotations) + 1, "image_id": copy["id"]})
            found += [{**p, "image_id": copy["id"]} for p in predictions if p["image_id"] == image["id"]]
    return {**dataset, "images": images, "annotations": annotations}, found
