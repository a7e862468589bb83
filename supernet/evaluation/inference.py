"""A model on a dataset: the people it finds in every image, and how right they are."""

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from litepose_ofa.supernet.data.coco.dataset import BadImageError, KeypointDataset
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation.keypoint_ap import Engine, compare_people, official_metrics, require_engine
from litepose_ofa.supernet.evaluation.matching import PeopleComparison
from litepose_ofa.supernet.evaluation.people import (
    DEFAULT_SETTINGS,
    Image,
    InferenceSettings,
    People,
    PeoplePredictor,
    PoseModel,
)
from litepose_ofa.supernet.evaluation.results import PeopleResults

MAX_INPUT_PIXELS = 1 << 24
"""Of the network's input: a strip would make one without end, since the short side becomes ``image_size``."""

READING_THREADS = 2
"""Threads that read the next batch's images while the network runs; decoding lets go of Python's lock."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """People found in a dataset.

    Attributes:
        results: People in the order of the dataset's images; coordinates in image pixels.
        image_ids: The images that were read.
        skipped: Files that were not, with ``on_bad_image="skip"``.
        network_seconds: Time in the model.
        decode_seconds: Time from its output to people.
    """

    results: PeopleResults
    image_ids: tuple[int, ...]
    skipped: tuple[Path, ...]
    network_seconds: float
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Accuracy of a model on a dataset.

    Attributes:
        metrics: What ``evaluate_keypoints`` returns.
        predictions: The people who were found.
        comparison: They beside the annotated people, for an interval or a breakdown.
    """

    metrics: dict[str, float]
    predictions: Predictions
    comparison: PeopleComparison


def evaluate_model(
    model: PoseModel,
    dataset: KeypointDataset,
    *,
    image_size: int,
    settings: InferenceSettings = DEFAULT_SETTINGS,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    engine: Engine = "pycocotools",
    predictor: type[PeoplePredictor] = PeoplePredictor,
) -> EvaluationResult:
    """Predict people in every image and compare them with the annotations.

    Args:
        model: The network in eval mode, on ``device``.
        dataset: The images; its skeleton says how people are compared.
        image_size: Short side of the input in pixels.
        settings: How people are found.
        batch_size: Most images of a forward pass.
        device: Where the model is.
        engine: Who matches and averages, of ``evaluate_keypoints``.
        predictor: How an image is fitted to the input.

    Example:
        >>> evaluate_model(subnet.eval(), dataset, image_size=256).metrics["AP"]  # doctest: +SKIP
        0.406

    Raises:
        InputError: If an image fails and the dataset's ``on_bad_image`` is "error", if every image fails, if nobody is
            labelled in them, if a setting is out of range, or if the engine is not installed.
    """
    require_engine(engine)
    people_of = predictor(model, image_size, dataset.skeleton, settings, device)
    predictions = predict_dataset(people_of, dataset, batch_size=batch_size)
    comparison = compare_people(
        dataset.annotations_path, predictions.results, dataset.skeleton, image_ids=predictions.image_ids
    )
    return EvaluationResult(official_metrics(comparison, engine), predictions, comparison)


def predict_dataset(predictor: PeoplePredictor, dataset: KeypointDataset, *, batch_size: int = 16) -> Predictions:
    """Find the people in every image of a dataset.

    Images are read while the network runs, one batch ahead; what is kept of them is the people, 12 bytes a keypoint.

    Raises:
        InputError: If an image fails and the dataset's ``on_bad_image`` is "error", or if every image fails.
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    skipped: list[Path] = []
    found: dict[int, People] = {}
    with closing(_read_batches(dataset, _batches(dataset, predictor, batch_size, skipped))) as batches:
        for batch in batches:
            readable = dict(_readable(dataset, batch, skipped))
            people = predictor.predict(list(readable.values())) if readable else []
            found.update(zip(readable, people, strict=True))
    if not found:
        raise InputError(f"{dataset.images_dir}: not one of {len(dataset)} images can be read")
    in_order = sorted(found)
    image_ids = [dataset.records[index].id for index in in_order]
    keypoints, scores = zip(*(found[index] for index in in_order), strict=True)
    return Predictions(
        results=PeopleResults(
            np.repeat(np.array(image_ids, np.int64), [len(each) for each in scores]),
            np.concatenate(keypoints),
            np.concatenate(scores),
            dataset.person_category,
        ),
        image_ids=tuple(image_ids),
        skipped=tuple(skipped),
        network_seconds=predictor.network_seconds,
        decode_seconds=predictor.decode_seconds,
    )


def _batches(
    dataset: KeypointDataset, predictor: PeoplePredictor, batch_size: int, skipped: list[Path]
) -> Iterator[Sequence[int]]:
    """Yield indices of images whose inputs have one size; those without end are bad images."""
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    largest_scale = max(predictor.settings.scales)
    for index, record in enumerate(dataset.records):
        _, size = predictor.fit(record.width, record.height)
        if size[0] * size[1] * largest_scale**2 <= MAX_INPUT_PIXELS:
            by_size[size].append(index)
        elif dataset.on_bad_image == "skip":
            skipped.append(record.path)
        else:
            shown = f"{record.path}: is {record.width}x{record.height}, and would be an input of {size[0]}x{size[1]}"
            raise BadImageError(f"{shown}; at most {MAX_INPUT_PIXELS} pixels are run through the network")
    for indices in by_size.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


def _read_batches(dataset: KeypointDataset, batches: Iterable[Sequence[int]]) -> Generator[dict[int, Future[Image]]]:
    """Yield batches of images in order, the next one's reading under way."""
    pool = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="read_image")
    try:
        under_way: deque[dict[int, Future[Image]]] = deque()
        for indices in batches:
            under_way.append({index: pool.submit(dataset.read_image, index) for index in indices})
            if len(under_way) == 2:
                yield under_way.popleft()
        yield from under_way
    finally:
        pool.shutdown(cancel_futures=True)


def _readable(
    dataset: KeypointDataset, batch: dict[int, Future[Image]], skipped: list[Path]
) -> Iterator[tuple[int, Image]]:
    """Yield the images that can be read; add the others to ``skipped`` if the dataset allows it."""
    for index, reading in batch.items():
        try:
            yield index, reading.result()
        except BadImageError:
            if dataset.on_bad_image == "error":
                raise
            skipped.append(dataset.records[index].path)
