"""Average precision and recall of predicted people by object keypoint similarity (OKS).

Sources: COCO keypoints (arXiv:1405.0312; pycocotools, or its equal in C++, does the matching and the averaging);
CrowdPose (arXiv:1812.00324): its sigmas, an area of 0.53 x box, and AP by how crowded an image is.
"""

import importlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.doubts import DOUBTS_OF_EVALUATION, require_meaningful
from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.findings import Kind
from litepose_ofa.supernet.data.skeletons import COCO, Skeleton, get_skeleton
from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.evaluation.matching import PERSON, BoolArray, FloatArray, PeopleComparison, set_parameters
from litepose_ofa.supernet.evaluation.results import PeopleResults, as_people_results

Engine = Literal["pycocotools", "faster-coco-eval"]

Curves = tuple[FloatArray, FloatArray]
"""Precision by OKS threshold and recall level, and the recall reached by threshold."""

CROWD_LEVELS = {"easy": (-math.inf, 0.2), "medium": (0.2, 0.8), "hard": (0.8, math.inf)}
"""CrowdPose's ranges of an image's crowdIndex, the lower end included."""


def evaluate_keypoints(
    annotations_path: Path | str,
    predictions: PeopleResults | Iterable[Mapping[str, Any]],
    dataset: str | Skeleton = "coco",
    *,
    image_ids: Iterable[int] | None = None,
    engine: Engine = "pycocotools",
) -> dict[str, float]:
    """Compare predicted people with the annotations of a COCO-format file.

    All annotations and predictions count as one class, person: category ids are not compared. The file is read once and
    kept until it changes.

    Args:
        annotations_path: The JSON of the ground truth.
        predictions: People in COCO result form, coordinates in image pixels; a keypoint's third number is not used.
        dataset: "coco", "crowdpose", or another skeleton: its sigmas and its definition of the area.
        image_ids: Images to evaluate; all of the file if None. Predictions on others do not count.
        engine: Who matches and averages. The numbers are equal; "faster-coco-eval" is an optional package.

    Returns:
        "AP", "AP50", "AP75", "AR", "AR50", "AR75" in [0, 1]; where there are such people, "AP_medium" and "AP_large"
        (of size) with areas from annotations, "AP_easy", "AP_medium" and "AP_hard" (of crowding) with areas from boxes.

    Example:
        >>> evaluate_keypoints("person_keypoints_val2017.json", results, "coco")["AP"]  # doctest: +SKIP
        0.406

    Raises:
        InputError: If the file is not COCO keypoints of this skeleton, if nobody is labelled in the images, if a
            prediction names an unknown image or holds other than 3K finite numbers, or if the engine is not installed.
    """
    return official_metrics(compare_people(annotations_path, predictions, dataset, image_ids=image_ids), engine)


def compare_people(
    annotations_path: Path | str,
    predictions: PeopleResults | Iterable[Mapping[str, Any]],
    dataset: str | Skeleton = "coco",
    *,
    image_ids: Iterable[int] | None = None,
    predicted: Skeleton | None = None,
    allow_nobody: bool = False,
) -> PeopleComparison:
    """Put predicted people beside the annotated ones; arguments and errors are mostly those of ``evaluate_keypoints``.

    Args:
        annotations_path: See there, as for the three that follow.
        predictions: See there.
        dataset: See there.
        image_ids: See there.
        predicted: The skeleton of the predictions, where it may be another than the dataset's. Then the keypoints that
            have the same name in both are compared, by the dataset's sigmas and area; people without any of them need
            not be found, as in COCO those without keypoints.
        allow_nobody: Whether images without labelled people are accepted; they give no AP.
    """
    skeleton = get_skeleton(dataset) if isinstance(dataset, str) else dataset
    path = Path(annotations_path)
    truth = load_annotations(path, skeleton)
    results = as_people_results(predictions, (predicted or skeleton).num_keypoints)
    if predicted is not None and skeleton.difference(predicted) is not None:
        shared = skeleton.shared_with(predicted)
        truth = truth.with_keypoints_of(shared, [True] * shared.num_keypoints)
        columns = [predicted.keypoints.index(name) for name in shared.keypoints]
        results = replace(results, keypoints=results.keypoints[:, columns])
    known = np.isin(results.image_ids, truth.image_ids)
    if not known.all():
        raise InputError(
            f"prediction {known.argmin()} is of image {results.image_ids[~known][0]}, which {path} does not have"
        )
    with located(path):
        comparison = PeopleComparison(truth, results, image_ids)
    if not (allow_nobody or comparison.labelled.any()):
        raise InputError(f"{path}: no labelled person in the {len(comparison.images)} images to evaluate")
    return comparison


def require_comparable(dataset: KeypointDataset) -> None:
    """Refuse a dataset that gives no AP, or a wrong one to every network; warn if it does so in part.

    Raises:
        InputError: If nobody is labelled, a person lacks an area, or at least half of the people are annotated so that
            nobody could find them, or anybody would.
    """
    records = dataset.records
    if not isinstance(records, AnnotatedImages):
        return
    image_ids = records.annotations.image_ids[records.places].tolist()
    compare_people(dataset.annotations_path, [], dataset.skeleton, image_ids=image_ids)
    unused = Kind.CORNER_BOX if dataset.skeleton.area == "annotation" else None  # of people, boxes give the area alone
    kinds = [kind for kind in DOUBTS_OF_EVALUATION if kind is not unused]
    require_meaningful(records, dataset.annotations_path, kinds)


def official_metrics(comparison: PeopleComparison, engine: Engine = "pycocotools") -> dict[str, float]:
    """Return what ``evaluate_keypoints`` returns, of a comparison; nothing of one without labelled people."""
    require_engine(engine)
    if not comparison.labelled.any():
        return {}
    curves = _curves if engine == "pycocotools" else _faster_curves
    everyone, *by_size = curves(comparison, None)
    assert everyone is not None
    metrics = {
        f"{name}{threshold}": float(chosen.mean())
        for name, values in zip(("AP", "AR"), everyone, strict=True)
        for threshold, chosen in (("", values), ("50", values[0]), ("75", values[5]))
    }
    parts = dict(zip(comparison.official_sizes, by_size, strict=True))
    if comparison.skeleton.area == "box":
        parts |= {level: curves(comparison, images)[0] for level, images in crowd_levels(comparison).items()}
    return metrics | {f"AP_{name}": float(part[0].mean()) for name, part in parts.items() if part is not None}


def official_parameters(comparison: PeopleComparison) -> dict[str, Any]:
    """Return what COCO's own evaluation must have in its ``params`` to give the same AP of the two files."""
    truth, sigmas = comparison.truth, comparison.skeleton.sigmas
    parameters: dict[str, Any] = {} if sigmas == COCO.sigmas else {"kpt_oks_sigmas": list(sigmas)}
    if len(comparison.images) < len(truth.image_ids):
        parameters["imgIds"] = truth.image_ids[comparison.images].tolist()
    return parameters


def crowd_levels(comparison: PeopleComparison) -> dict[str, BoolArray]:
    """Return which images are of each crowding level that has labelled people, shape (I,) each."""
    crowd_index = comparison.truth.crowd_index[comparison.images]
    of_level = {level: (low <= crowd_index) & (crowd_index < high) for level, (low, high) in CROWD_LEVELS.items()}
    return {level: images for level, images in of_level.items() if comparison.labelled[images].any()}


def require_engine(engine: str) -> None:
    """Refuse an engine that is unknown or not installed."""
    require(engine in get_args(Engine), "engine", engine, f"one of {', '.join(get_args(Engine))}")
    if engine == "faster-coco-eval":
        try:
            importlib.import_module("faster_coco_eval")
        except ModuleNotFoundError:
            install = "pip install 'litepose-ofa[fast-eval]'"
            raise InputError(f"engine '{engine}' is not installed: {install}, or use 'pycocotools'") from None


def _curves(comparison: PeopleComparison, images: BoolArray | None) -> list[Curves | None]:
    """Return precision and recall of some images, of people of any size and of the official ones; None of nobody."""
    weights = np.ones(len(comparison.images), np.int64) if images is None else images.astype(np.int64)
    by_size = (comparison.matching.matches(place) for place in range(1, 1 + len(comparison.official_sizes)))
    everyone = (comparison.matches, *by_size)
    return [matches.precision_recall(weights) if matches.labelled @ weights else None for matches in everyone]


def _faster_curves(comparison: PeopleComparison, images: BoolArray | None) -> list[Curves | None]:
    """Return the same by faster-coco-eval, whose matching and averaging are in C++."""
    package = importlib.import_module("faster_coco_eval")
    chosen = range(len(comparison.images)) if images is None else np.flatnonzero(images).tolist()
    truths, found = (
        [
            {**person, "image_id": image, "category_id": PERSON, "num_keypoints": int(not person.get("ignore"))}
            for image in chosen
            for person in people(image)
        ]
        for people in (comparison.truths, comparison.found)
    )
    frame = {"images": [{"id": image} for image in chosen], "categories": [{"id": PERSON}]}
    evaluation = package.COCOeval_faster(
        *(package.COCO({**frame, "annotations": people}) for people in (truths, found)), "keypoints"
    )
    set_parameters(evaluation.params, comparison, comparison.official_sizes)
    evaluation.params.imgIds = list(chosen)
    evaluation.computeOks = lambda image, category: comparison.oks(image)
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][:, :, 0, :, 0], evaluation.eval["recall"][:, 0, :, 0]
    return [
        (precision[..., size], recall[..., size]) if (recall[..., size] >= 0).all() else None
        for size in range(1 + len(comparison.official_sizes))
    ]
