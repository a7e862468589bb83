"""A model on many images: the people it finds in a dataset and how right they are, and those in a stream of images."""

from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from litepose_ofa.supernet.data.coco.dataset import BadImageError, KeypointDataset
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation.keypoint_ap import Engine, compare_people, official_metrics, require_engine
from litepose_ofa.supernet.evaluation.matching import PeopleComparison
from litepose_ofa.supernet.evaluation.people import Image, People, PeoplePredictor
from litepose_ofa.supernet.evaluation.results import PeopleResults

Key = TypeVar("Key")

MAX_INPUT_PIXELS = 1 << 24
"""Of the network's input: a strip would make one without end, since the short side becomes ``image_size``."""

READING_THREADS = 2
"""Threads that read the next batch's images while the network runs; decoding lets go of Python's lock."""

WINDOW_BATCHES = 4
"""Batches of a stream that are looked ahead, so that images of one input size find together."""

WINDOW_PIXELS = 64_000_000
"""Pixels of a stream that are held at a time, unless a single image has more: 192 MB."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """People found in a dataset.

    Attributes:
        results: People in the order of the dataset's images; coordinates in image pixels.
        image_ids: The images that were read.
        skipped: Files that were not, with ``on_bad_image="skip"``.
        network_seconds, decode_seconds: Where the time went, as in ``PeoplePredictor``.
    """

    results: PeopleResults
    image_ids: tuple[int, ...]
    skipped: tuple[Path, ...]
    network_seconds: float
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Accuracy of a model on a dataset, as ``evaluate_keypoints`` gives it, and what it comes from."""

    metrics: dict[str, float]
    predictions: Predictions
    comparison: PeopleComparison


def evaluate_dataset(
    predictor: PeoplePredictor, dataset: KeypointDataset, *, batch_size: int = 16, engine: Engine = "pycocotools"
) -> EvaluationResult:
    """Predict people in every image and compare them with the annotations.

    The dataset's skeleton says how they are compared; of a model of another skeleton, the keypoints of the same names
    are. ``engine`` is as for ``evaluate_keypoints``. A people-free dataset gives no metrics.

    Raises:
        InputError: If an image fails and the dataset's ``on_bad_image`` is "error", if every image fails, if nobody is
            labelled in them, if the skeletons share no keypoint, or if the engine is not installed.
    """
    require_engine(engine)
    predictions = predict_dataset(predictor, dataset, batch_size=batch_size)
    comparison = compare_people(
        dataset.annotations_path,
        predictions.results,
        dataset.skeleton,
        image_ids=predictions.image_ids,
        predicted=predictor.skeleton,
        allow_nobody=dataset.is_people_free,
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
            readable = {}
            for index, reading in batch.items():
                try:
                    readable[index] = reading.result()
                except BadImageError:
                    if dataset.on_bad_image == "error":
                        raise
                    skipped.append(dataset.records[index].path)
            people = predictor.predict(list(readable.values())) if readable else []
            found.update(zip(readable, people, strict=True))
    if not found:
        raise InputError(f"{dataset.images_dir}: not one of {len(dataset)} images can be read")
    in_order = sorted(found)
    image_ids = [dataset.records[index].id for index in in_order]
    keypoints, scores = zip(*(found[index] for index in in_order), strict=True)
    results = PeopleResults(
        np.repeat(np.array(image_ids, np.int64), [len(each) for each in scores]),
        np.concatenate(keypoints),
        np.concatenate(scores),
        dataset.person_category,
    )
    return Predictions(results, tuple(image_ids), tuple(skipped), predictor.network_seconds, predictor.decode_seconds)


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


def predict_stream(
    predictor: PeoplePredictor, images: Iterable[tuple[Key, Image]], *, batch_size: int
) -> Iterator[tuple[Key, Image, People]]:
    """Find the people in images as they come, of any number and mixed sizes, with bounded memory.

    Args:
        predictor: The model and how it is run.
        images: Keys and RGB images, shape (H, W, 3).
        batch_size: Most images of a forward pass; fewer of long ones, so that the pass has no more pixels than so many
            square inputs.

    Yields:
        Key, image and people of each, in the order of the stream.
    """
    for window in _windows(images, WINDOW_BATCHES * batch_size):
        found = _predict_window(predictor, [image for _, image in window], batch_size)
        for (key, image), people in zip(window, found, strict=True):
            yield key, image, people


def _windows(images: Iterable[tuple[Key, Image]], most: int) -> Iterator[list[tuple[Key, Image]]]:
    window: list[tuple[Key, Image]] = []
    pixels = 0
    for key, image in images:
        size = image.shape[0] * image.shape[1]
        if window and (len(window) == most or pixels + size > WINDOW_PIXELS):
            yield window
            window, pixels = [], 0
        window.append((key, image))
        pixels += size
    if window:
        yield window


def _predict_window(predictor: PeoplePredictor, images: Sequence[Image], batch_size: int) -> list[People]:
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        _, size = predictor.fit(image.shape[1], image.shape[0])
        by_size[size].append(index)
    people: dict[int, People] = {}
    for (width, height), indices in by_size.items():
        most = max(1, batch_size * min(width, height) // max(width, height))
        for start in range(0, len(indices), most):
            batch = indices[start : start + most]
            people.update(zip(batch, predictor.predict([images[index] for index in batch]), strict=True))
    return [people[index] for index in range(len(images))]
