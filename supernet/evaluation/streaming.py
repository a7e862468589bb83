"""People in a stream of images of any length and mixed sizes, in its order, with bounded memory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from litepose_ofa.supernet.evaluation.people import Image, People, PeoplePredictor

Key = TypeVar("Key")

WINDOW_BATCHES = 4
"""Batches that are looked ahead, so that images of one input size find together."""

WINDOW_PIXELS = 64_000_000
"""Pixels that are held at a time, unless a single image has more: 192 MB."""


def predict_stream(
    predictor: PeoplePredictor, images: Iterable[tuple[Key, Image]], *, batch_size: int
) -> Iterator[tuple[Key, Image, People]]:
    """Find the people in images as they come.

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
