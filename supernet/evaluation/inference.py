"""A model on a dataset: the people it finds in every image, and how right they are."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from supernet.data.coco import BadImageError, KeypointDataset
from supernet.errors import InputError
from supernet.evaluation.keypoint_ap import evaluate_keypoints
from supernet.evaluation.people import (
    DEFAULT_SETTINGS,
    FloatArray,
    Image,
    InferenceSettings,
    PeoplePredictor,
    PoseModel,
    predict_people,
)

__all__ = [
    "EvaluationResult",
    "InferenceSettings",
    "Predictions",
    "evaluate_model",
    "predict_dataset",
    "predict_people",
]

Progress = Callable[[int], object]
"""Called with the number of images done since the last call."""

CATEGORY_ID = 1
"""Person, in COCO and CrowdPose."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """People found in a dataset.

    Attributes:
        results: People in COCO result form, coordinates in image pixels.
        image_ids: The images that were read.
        skipped: Files that were not, with ``on_bad_image="skip"``.
        network_seconds: Time in the model.
        decode_seconds: Time from its output to people.
    """

    results: list[dict[str, Any]]
    image_ids: tuple[int, ...]
    skipped: tuple[Path, ...]
    network_seconds: float
    decode_seconds: float

    @property
    def num_images(self) -> int:
        """Number of images that were read."""
        return len(self.image_ids)


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Accuracy of a model on a dataset.

    Attributes:
        metrics: What ``evaluate_keypoints`` returns.
        num_images: Images evaluated.
        skipped: Files left out, with ``on_bad_image="skip"``.
        network_seconds: Time in the model.
        decode_seconds: Time from its output to people.
    """

    metrics: dict[str, float]
    num_images: int
    skipped: tuple[Path, ...]
    network_seconds: float
    decode_seconds: float


def evaluate_model(
    model: PoseModel,
    dataset: KeypointDataset,
    *,
    image_size: int,
    settings: InferenceSettings = DEFAULT_SETTINGS,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> EvaluationResult:
    """Predict people in every image and compare them with the annotations.

    Args:
        model: The network in eval mode, on ``device``.
        dataset: The images; its skeleton says how people are compared.
        image_size: Short side of the input in pixels.
        settings: How people are found.
        batch_size: Most images of a forward pass.
        device: Where the model is.
        progress: Called with the number of images done since the last call.

    Example:
        >>> evaluate_model(subnet.eval(), dataset, image_size=256).metrics["AP"]  # doctest: +SKIP
        0.406

    Raises:
        InputError: If an image fails and the dataset's ``on_bad_image`` is "error", if every image fails, if nobody is
            labelled in them, or if a setting is out of range.
    """
    predictions = predict_dataset(
        model,
        dataset,
        image_size=image_size,
        settings=settings,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )
    metrics = evaluate_keypoints(
        dataset.annotations_path, predictions.results, dataset.skeleton, image_ids=predictions.image_ids
    )
    return EvaluationResult(
        metrics=metrics,
        num_images=predictions.num_images,
        skipped=predictions.skipped,
        network_seconds=predictions.network_seconds,
        decode_seconds=predictions.decode_seconds,
    )


def predict_dataset(
    model: PoseModel,
    dataset: KeypointDataset,
    *,
    image_size: int,
    settings: InferenceSettings = DEFAULT_SETTINGS,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Predictions:
    """Find the people in every image of a dataset; the arguments are those of ``evaluate_model``.

    Raises:
        InputError: If an image fails and the dataset's ``on_bad_image`` is "error", if every image fails, or if a
            setting is out of range.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}; it must be at least 1")
    predictor = PeoplePredictor(model, image_size, dataset.skeleton, settings, device)
    skipped: list[Path] = []
    results: dict[int, list[dict[str, Any]]] = {}
    for indices in _batches(dataset, predictor, batch_size):
        readable = dict(_read(dataset, indices, skipped))
        people = predictor.predict(list(readable.values())) if readable else []
        for index, (keypoints, scores) in zip(readable, people, strict=True):
            results[index] = _coco_results(dataset.records[index].id, keypoints, scores)
        if progress is not None:
            progress(len(indices))
    if not results:
        raise InputError(f"{dataset.images_dir}: not one of {len(dataset)} images can be read")
    in_order = sorted(results)
    return Predictions(
        results=[result for index in in_order for result in results[index]],
        image_ids=tuple(dataset.records[index].id for index in in_order),
        skipped=tuple(skipped),
        network_seconds=predictor.network_seconds,
        decode_seconds=predictor.decode_seconds,
    )


def _batches(dataset: KeypointDataset, predictor: PeoplePredictor, batch_size: int) -> Iterator[Sequence[int]]:
    """Yield indices of images whose inputs have one size."""
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, record in enumerate(dataset.records):
        _, size = predictor.fit(record.width, record.height)
        by_size[size].append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


def _read(dataset: KeypointDataset, indices: Iterable[int], skipped: list[Path]) -> Iterator[tuple[int, Image]]:
    """Yield the images that can be read; add the others to ``skipped`` if the dataset allows it."""
    for index in indices:
        try:
            image = dataset.read_image(index)
        except BadImageError:
            if dataset.on_bad_image == "error":
                raise
            skipped.append(dataset.records[index].path)
        else:
            yield index, image


def _coco_results(image_id: int, people: FloatArray, scores: FloatArray) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": CATEGORY_ID, "keypoints": keypoints.flatten().tolist(), "score": score}
        for keypoints, score in zip(people, scores.tolist(), strict=True)
    ]
