"""One image several times, each with the people that somebody finds in it: titled tiles, a sheet, a small JPEG."""

from collections.abc import Sequence

import cv2
import numpy as np

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.pictures.drawing import FloatArray, Image, draw_people, make_sheet, resized_with_people

TILE_SIDE = 300
TILE_COLUMNS = 3
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.55


def spread_indices(dataset: KeypointDataset, count: int) -> list[int]:
    """Return the indices of images with people, evenly from the fewest labelled people to the most.

    Raises:
        InputError: If no image has any.
    """
    people = np.array([len(record.keypoints) for record in dataset.records])
    order = np.argsort(people, kind="stable")
    order = order[people[order] > 0]
    require(len(order) > 0, f"{dataset.annotations_path}: the number of images with people", 0, "at least 1")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(index) for index in order[places]]


def draw_comparison(image: Image, people: Sequence[tuple[str, FloatArray, Skeleton]]) -> Image:
    """Draw an image, shape (H, W, 3), once for each title with its people, each (N, K, 3) in image pixels."""
    tiles = [_tile(image, found, skeleton, title) for title, found, skeleton in people]
    return make_sheet(tiles, columns=2 if len(tiles) == 4 else TILE_COLUMNS)


def _tile(image: Image, people: FloatArray, skeleton: Skeleton, title: str) -> Image:
    """Draw people on a small copy of an image, and whose they are in its corner."""
    small, moved = resized_with_people(image, people, TILE_SIDE)
    tile = draw_people(small, moved, skeleton)
    text = title.encode("ascii", "replace").decode()  # OpenCV's fonts have no more
    (width, height), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    cv2.rectangle(tile, (0, 0), (width + 9, height + 9), (0, 0, 0), cv2.FILLED)
    cv2.putText(tile, text, (5, height + 4), FONT, FONT_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def encode_jpeg(image: Image, most_bytes: int) -> bytes:
    """Return a JPEG of an RGB picture, shape (H, W, 3), of the best quality that fits, or of the least."""
    swapped = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    for quality in range(90, 0, -10):
        encoded = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(encoded) <= most_bytes:
            break
    return encoded.tobytes()
