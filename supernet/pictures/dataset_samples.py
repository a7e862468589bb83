"""Annotated images drawn: skeletons, boxes, and where the loss is masked."""

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.records import AnnotatedImages, ByteArray
from litepose_ofa.supernet.data.image_files import BadImageError, read_image_file
from litepose_ofa.supernet.pictures.drawing import draw_people, make_sheet, person_colour, resized_with_people

SIDE = 320
"""Longer side of a drawn image in pixels."""

COLUMNS = 4

_MASK_COLOUR = (255, 0, 0)


def draw_samples(images: AnnotatedImages, count: int, rng: np.random.Generator) -> ByteArray | None:
    """Draw some of the images that can be read, those with people first, as one picture.

    A colour a person; a hidden joint has a dark centre; where the loss is masked it is red.

    Args:
        images: Where to draw from.
        count: How many at most.
        rng: Source of the choice.

    Returns:
        The picture, RGB; None if no image can be read.
    """
    order = rng.permutation(len(images))
    content = images.annotations
    with_people = np.bincount(content.images, minlength=len(content.image_ids))[images.places[order]] > 0
    pictures: list[ByteArray] = []
    for index in order[np.argsort(~with_people, kind="stable")].tolist():
        if len(pictures) == count:
            break
        try:
            pictures.append(draw_annotated(images, index))
        except BadImageError:
            continue
    return make_sheet(pictures, columns=COLUMNS) if pictures else None


def draw_annotated(images: AnnotatedImages, index: int) -> ByteArray:
    """Draw one image with its annotations, its longer side ``SIDE`` pixels.

    Raises:
        BadImageError: If it cannot be read.
    """
    record, content = images[index], images.annotations
    image = read_image_file(record.path, (record.width, record.height))
    image, people = resized_with_people(image, record.keypoints, SIDE)
    height, width = image.shape[:2]
    if record.ignore:
        mask = cv2.resize(
            record.ignore.draw(record.width, record.height), (width, height), interpolation=cv2.INTER_NEAREST
        )
        image[mask > 0] = image[mask > 0] // 2 + np.array(_MASK_COLOUR, np.uint8) // 2
    rows = content.of_image(int(images.places[index]))
    boxes = content.boxes[rows[content.labelled[rows]]] * np.tile(
        np.divide((width, height), (record.width, record.height)), 2
    )
    for person, (x, y, across, down) in enumerate(boxes):
        corners = np.rint([x, y, x + across, y + down]).astype(int).tolist()
        cv2.rectangle(image, corners[:2], corners[2:], person_colour(person), 1)
    image = draw_people(image, people, images.annotations.skeleton)
    _mark_hidden(image, people)
    return image


def _mark_hidden(image: ByteArray, people: npt.NDArray[np.floating]) -> None:
    for x, y, _ in people[people[..., 2] == 1].tolist():
        cv2.circle(image, (round(x - 0.5), round(y - 0.5)), 1, (0, 0, 0), cv2.FILLED)
