"""Average precision and recall of predicted people by object keypoint similarity (OKS).

Sources: COCO keypoints (arXiv:1405.0312; pycocotools does the matching and the averaging); CrowdPose
(arXiv:1812.00324): its sigmas, an area of 0.53 x box, and AP by how crowded an image is.
"""

import contextlib
import copy
import functools
import io
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from supernet.data.annotations import read_records
from supernet.data.skeletons import Skeleton, get_skeleton
from supernet.errors import InputError
from supernet.files import read_json

FloatArray = npt.NDArray[np.float64]
Result = Mapping[str, Any]
"""A person in COCO result form: image_id, category_id, keypoints (3K numbers), score."""

MAX_PEOPLE = 20
"""Predictions beyond this many of an image, by score, do not count."""

BOX_AREA_SHARE = 0.53
"""Area of a person in a box of area 1, by CrowdPose."""

CROWD_LEVELS = {"easy": (-math.inf, 0.2), "medium": (0.2, 0.8), "hard": (0.8, math.inf)}
"""CrowdPose's ranges of an image's crowdIndex, the lower end included."""

_PERSON = 1


def evaluate_keypoints(
    annotations_path: Path | str,
    predictions: Sequence[Result],
    dataset: str | Skeleton = "coco",
    *,
    image_ids: Iterable[int] | None = None,
) -> dict[str, float]:
    """Compare predicted people with the annotations of a COCO-format file.

    All annotations and predictions count as one class, person: category ids are not compared. The file is read once and
    kept until it changes.

    Args:
        annotations_path: The JSON of the ground truth.
        predictions: People in COCO result form, coordinates in image pixels; a keypoint's third number is not used.
        dataset: "coco", "crowdpose", or another skeleton: its sigmas and its definition of the area.
        image_ids: Images to evaluate; all of the file if None. Predictions on others do not count.

    Returns:
        "AP", "AP50", "AP75", "AR", "AR50", "AR75" in [0, 1]; where there are such people, "AP_medium" and "AP_large"
        (of size) with areas from annotations, "AP_easy", "AP_medium" and "AP_hard" (of crowding) with areas from boxes.

    Example:
        >>> evaluate_keypoints("person_keypoints_val2017.json", results, "coco")["AP"]  # doctest: +SKIP
        0.406

    Raises:
        InputError: If the file is not COCO keypoints of this skeleton, if nobody is labelled in the images, or if a
            prediction names an unknown image or holds other than 3K finite numbers.
    """
    skeleton = get_skeleton(dataset) if isinstance(dataset, str) else dataset
    path = Path(annotations_path)
    truth = _ground_truth(path, skeleton)
    chosen = truth.image_ids if image_ids is None else _known_images(path, truth, image_ids)
    if not any(truth.labelled[image_id] for image_id in chosen):
        raise InputError(f"{path}: no labelled person in the {len(chosen)} images to evaluate")
    results = [
        person for person in _checked_results(path, truth, predictions, skeleton) if person["image_id"] in chosen
    ]
    evaluation = _OksEvaluation(truth.coco, _index(truth.coco.dataset["images"], results), skeleton, chosen)
    metrics = evaluation.summary()
    if skeleton.area == "box":
        metrics |= evaluation.by_crowding(truth.crowd_index)
    return metrics


@dataclass(frozen=True, slots=True)
class _GroundTruth:
    """Annotations indexed for pycocotools; number of labelled people and crowdIndex by image id."""

    coco: COCO
    image_ids: frozenset[int]
    labelled: Counter[int]
    crowd_index: Mapping[int, float]


def _ground_truth(path: Path, skeleton: Skeleton) -> _GroundTruth:
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return _read_ground_truth(path.absolute(), state.st_mtime_ns, state.st_size, skeleton)


@functools.lru_cache(maxsize=8)
def _read_ground_truth(path: Path, _mtime_ns: int, _size: int, skeleton: Skeleton) -> _GroundTruth:
    """Read and check a file; the time and size are there for the cache to see a change."""
    records = read_records(path, path.parent, skeleton)
    content = read_json(path)
    people = [_truth_person(path, annotation, skeleton) for annotation in content["annotations"]]
    labelled = Counter({record.id: 0 for record in records})
    labelled.update(person["image_id"] for person in people if person["num_keypoints"] and not person["iscrowd"])
    crowd_index = {image["id"]: image["crowdIndex"] for image in content["images"] if "crowdIndex" in image}
    images = [{"id": record.id} for record in records]
    return _GroundTruth(_index(images, people), frozenset(labelled), labelled, crowd_index)


def _truth_person(path: Path, annotation: Mapping[str, Any], skeleton: Skeleton) -> dict[str, Any]:
    visible = sum(visibility > 0 for visibility in annotation["keypoints"][2::3])
    if skeleton.area == "box":
        area = BOX_AREA_SHARE * annotation["bbox"][2] * annotation["bbox"][3]
    elif "area" in annotation:
        area = annotation["area"]
    else:
        raise InputError(f"{path}: annotation {annotation['id']} lacks the key 'area'")
    return {
        "id": annotation["id"],
        "image_id": annotation["image_id"],
        "category_id": _PERSON,
        "keypoints": np.asarray(annotation["keypoints"], float).reshape(-1, 3),
        "num_keypoints": annotation.get("num_keypoints", visible),
        "bbox": annotation["bbox"],
        "area": area,
        "iscrowd": annotation.get("iscrowd", 0),
    }


def _known_images(path: Path, truth: _GroundTruth, image_ids: Iterable[int]) -> frozenset[int]:
    chosen = frozenset(image_ids)
    unknown = chosen - truth.image_ids
    if unknown:
        raise InputError(f"{path}: has no image {min(unknown)}, which image_ids names")
    return chosen


def _checked_results(
    path: Path, truth: _GroundTruth, predictions: Sequence[Result], skeleton: Skeleton
) -> list[dict[str, Any]]:
    """Return the predictions as pycocotools wants them, with the area of the keypoints' bounding box."""
    checked = []
    for number, person in enumerate(predictions, start=1):  # 0 would read as unmatched
        where = f"prediction {number - 1}"
        if person.get("image_id") not in truth.image_ids:
            raise InputError(f"{where} is of image {person.get('image_id')!r}, which {path} does not have")
        keypoints = _finite(f"{where}: 'keypoints'", person.get("keypoints"), 3 * skeleton.num_keypoints).reshape(-1, 3)
        width, height = np.ptp(keypoints[:, :2], axis=0).tolist()
        checked.append(
            {
                "id": number,
                "image_id": person["image_id"],
                "category_id": _PERSON,
                "keypoints": keypoints,
                "score": _finite(f"{where}: 'score'", [person.get("score")], 1).item(),
                "area": width * height,
            }
        )
    return checked


def _finite(where: str, value: object, count: int) -> FloatArray:
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        numbers = np.full(0, np.nan)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f"{where} must be {count} finite number{'s' if count > 1 else ''}")
    return numbers


def _index(images: Sequence[Mapping[str, Any]], people: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "annotations": people, "categories": [{"id": _PERSON}]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


class _OksEvaluation(COCOeval):  # type: ignore[misc]
    """COCOeval for any skeleton, without its printing."""

    def __init__(self, truth: COCO, results: COCO, skeleton: Skeleton, image_ids: Iterable[int]) -> None:
        super().__init__(truth, results, "keypoints")
        self.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
        self.params.imgIds = sorted(image_ids)
        self.params.maxDets = [MAX_PEOPLE]
        if skeleton.area == "box":
            self.params.areaRng, self.params.areaRngLbl = self.params.areaRng[:1], self.params.areaRngLbl[:1]
        with contextlib.redirect_stdout(io.StringIO()):
            self.evaluate()

    def computeOks(self, image_id: int, category_id: int) -> FloatArray | list[float]:  # noqa: N802
        """Return the OKS of each prediction (by falling score) with each annotation of an image, shape (N, G)."""
        truths = self._gts[image_id, category_id]
        results = sorted(self._dts[image_id, category_id], key=lambda person: -person["score"])[:MAX_PEOPLE]
        if not truths or not results:
            return []
        labels = np.stack([person["keypoints"] for person in truths])
        points = np.stack([person["keypoints"] for person in results])[:, None, :, :2]
        counted = labels[:, :, 2] > 0
        unlabelled = np.flatnonzero(~counted.any(axis=1))
        offsets = points - labels[:, :, :2]
        if len(unlabelled):  # they are anywhere in a box of three times the side, and all their keypoints count
            boxes = np.array([truths[i]["bbox"] for i in unlabelled], float)[:, None]
            low, high = boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + 2 * boxes[..., 2:]
            offsets[:, unlabelled] = np.maximum(low - points, 0) + np.maximum(points - high, 0)
            counted[unlabelled] = True
        areas = np.array([person["area"] for person in truths], float)[:, None] + np.spacing(1)
        variances = (2 * self.params.kpt_oks_sigmas) ** 2
        similarity = np.exp(-(offsets**2).sum(axis=-1) / variances / areas / 2)
        oks: FloatArray = (similarity * counted).sum(axis=-1) / counted.sum(axis=-1)
        return oks

    def summary(self) -> dict[str, float]:
        """Return AP and AR over OKS thresholds 0.5 to 0.95 and at 0.5 and 0.75, and AP by size of the person."""
        precision, recall = self._accumulated()
        metrics: dict[str, float] = {}
        for name, cells in (("AP", precision), ("AR", recall)):
            at = {f"{name}{threshold}": cells[i, ..., 0] for threshold, i in (("", slice(None)), (50, 0), (75, 5))}
            metrics |= {key: _mean(values) for key, values in at.items()}
        sizes = {f"AP_{label}": precision[..., 1 + i] for i, label in enumerate(self.params.areaRngLbl[1:])}
        return metrics | {key: _mean(cells) for key, cells in sizes.items() if (cells >= 0).any()}

    def by_crowding(self, crowd_index: Mapping[int, float]) -> dict[str, float]:
        """Return the AP of the images of each crowding level that has labelled people."""
        metrics = {}
        for level, (low, high) in CROWD_LEVELS.items():
            of_level = {image for image in self.params.imgIds if low <= crowd_index.get(image, math.nan) < high}
            precision, _ = self._of_images(of_level)._accumulated()
            if (precision >= 0).any():
                metrics[f"AP_{level}"] = _mean(precision)
        return metrics

    def _of_images(self, image_ids: set[int]) -> "_OksEvaluation":
        """Return the evaluation of some of the images (``accumulate`` of fewer images reads the wrong ones)."""
        part = copy.copy(self)
        part.params = part._paramsEval = copy.copy(self.params)
        part.params.imgIds = [image for image in self.params.imgIds if image in image_ids]
        by_area_and_image = zip(self.evalImgs, itertools.cycle(self.params.imgIds), strict=False)
        part.evalImgs = [result for result, image in by_area_and_image if image in image_ids]
        return part

    def _accumulated(self) -> tuple[FloatArray, FloatArray]:
        """Return precision by (threshold, recall, area), recall by (threshold, area); -1 where nobody is labelled."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.accumulate()
        return self.eval["precision"][:, :, 0, :, 0], self.eval["recall"][:, 0, :, 0]


def _mean(cells: FloatArray) -> float:
    return float(cells[cells >= 0].mean())
