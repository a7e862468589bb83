"""People drawn on pictures, annotated images, and many pictures on one sheet.

Legend: N people, K keypoints, H/W picture. Points are in the image frame: x right, y down, in pixels, and pixel i
covers [i, i + 1). Pictures and colours are RGB.
"""

import math
from collections.abc import Sequence
from contextlib import suppress

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.image_files import BadImageError, read_image_file
from litepose_ofa.supernet.data.skeletons import Skeleton

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]
Colour = tuple[int, int, int]

PERSON_COLOURS: tuple[Colour, ...] = (
    *((255, 99, 71), (64, 196, 255), (120, 220, 80), (255, 205, 40), (200, 120, 255), (255, 140, 200)),
    *((0, 210, 190), (190, 110, 40), (110, 140, 255), (200, 230, 60), (230, 50, 160), (160, 200, 220)),
)
"""Told apart side by side and bright on any background; the people after the last begin again."""

OUTLINE: Colour = (20, 20, 20)
MASK: Colour = (255, 0, 0)

SAMPLE_SIDE, SAMPLE_COLUMNS = 320, 4
"""Longer side of a drawn annotated image in pixels, and how many stand in a row."""

SUBPIXEL_BITS = 4
"""OpenCV draws at sixteenths of a pixel."""

LINES_PER_PICTURE = 130
"""Widths of a limb that fit along the side of a square of the picture's area."""

LINES_PER_PERSON = 24
"""Widths of a limb that fit along the longer side of a person, so that small people stay readable."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def person_colour(index: int) -> Colour:
    """Return the colour of the person at an index."""
    return PERSON_COLOURS[index % len(PERSON_COLOURS)]


def draw_people(image: Image, people: FloatArray, skeleton: Skeleton, *, scores: FloatArray | None = None) -> Image:
    """Draw skeletons, a colour a person, the first person on top.

    A joint is drawn where its third value is above 0 and it is in or near the picture, a limb where both joints are.

    Args:
        image: Shape (H, W, 3); left as it is, a copy is drawn on.
        people: Shape (N, K, 3): x, y in image pixels, and response or visibility.
        skeleton: The K keypoints.
        scores: One a person, shape (N,), to write beside their highest joints.
    """
    canvas = np.ascontiguousarray(image).copy()
    shown = [_drawable(person, image.shape[1], image.shape[0]) for person in people]
    for index in reversed(range(len(people))):
        _draw_skeleton(canvas, people[index, :, :2], shown[index], skeleton, person_colour(index))
    if scores is not None:
        for index in reversed(range(len(people))):
            if shown[index].any():
                points = people[index, shown[index], :2]
                _draw_label(canvas, f"{scores[index]:.2f}", points[points[:, 1].argmin()], person_colour(index))
    return canvas


def resized_with_people(image: Image, people: FloatArray, side: int) -> tuple[Image, FloatArray]:
    """Scale a picture so that its longer side is ``side`` pixels, and the people on it."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    moved = people.copy()
    moved[..., :2] *= np.divide(size, (width, height))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return resized.astype(np.uint8, copy=False), moved


def make_sheet(pictures: Sequence[Image], *, columns: int, gap: int = 4) -> Image:
    """Put at least one picture into a grid on white, row by row, each in the middle of a cell as large as any."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        top = row * (height + gap) + (height - picture.shape[0]) // 2
        left = column * (width + gap) + (width - picture.shape[1]) // 2
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def draw_samples(images: AnnotatedImages, count: int, rng: np.random.Generator) -> Image | None:
    """Draw at most ``count`` images as ``draw_annotated`` does, those with people first; None if none can be read."""
    order = rng.permutation(len(images))
    content = images.annotations
    with_people = np.bincount(content.images, minlength=len(content.image_ids))[images.places[order]] > 0
    pictures: list[Image] = []
    for index in order[np.argsort(~with_people, kind="stable")].tolist():
        if len(pictures) == count:
            break
        with suppress(BadImageError):
            pictures.append(draw_annotated(images, index))
    return make_sheet(pictures, columns=SAMPLE_COLUMNS) if pictures else None


def draw_annotated(images: AnnotatedImages, index: int) -> Image:
    """Draw an image with its people and boxes; a hidden joint has a dark centre, red is where the loss is masked."""
    record, content = images[index], images.annotations
    image = read_image_file(record.path, (record.width, record.height))
    image, people = resized_with_people(image, record.keypoints, SAMPLE_SIDE)
    height, width = image.shape[:2]
    if record.ignore:
        mask = record.ignore.draw(record.width, record.height)
        masked = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        image[masked] = image[masked] // 2 + np.array(MASK, np.uint8) // 2
    rows = content.of_image(int(images.places[index]))
    scale = np.tile(np.divide((width, height), (record.width, record.height)), 2)
    for person, (x, y, across, down) in enumerate(content.boxes[rows[content.labelled[rows]]] * scale):
        corners = np.rint([x, y, x + across, y + down]).astype(int).tolist()
        cv2.rectangle(image, corners[:2], corners[2:], person_colour(person), 1)
    image = draw_people(image, people, content.skeleton)
    for x, y, _ in people[people[..., 2] == 1].tolist():
        cv2.circle(image, (round(x - 0.5), round(y - 0.5)), 1, (0, 0, 0), cv2.FILLED)
    return image


def _drawable(person: FloatArray, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return which joints are there and no farther outside than the picture is large: OpenCV's integers have an end."""
    size = np.array([width, height])
    near = ((person[:, :2] >= -size) & (person[:, :2] <= 2 * size)).all(axis=1)
    return np.asarray(near & (person[:, 2] > 0))


def _draw_skeleton(
    canvas: Image, points: FloatArray, shown: npt.NDArray[np.bool_], skeleton: Skeleton, colour: Colour
) -> None:
    if not shown.any():
        return
    width = _line_width(canvas, points[shown])
    limbs = [limb for limb in skeleton.limbs if shown[list(limb)].all()]
    fixed = np.rint((np.where(shown[:, None], points, 0) - 0.5) * 2**SUBPIXEL_BITS).astype(int)
    outline = 2 * (width // 2)
    for line_colour, more in ((OUTLINE, outline), (colour, 0)):
        for start, end in limbs:
            cv2.line(canvas, fixed[start], fixed[end], line_colour, width + more, cv2.LINE_AA, SUBPIXEL_BITS)
        radius = round((1.25 * width + more / 2) * 2**SUBPIXEL_BITS)
        for joint in np.flatnonzero(shown):
            cv2.circle(canvas, fixed[joint], radius, line_colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _line_width(canvas: Image, points: FloatArray) -> int:
    """Return the width of a limb in pixels: it grows with the picture, and stays thin on small people."""
    by_picture = math.sqrt(canvas.shape[0] * canvas.shape[1]) / LINES_PER_PICTURE
    by_person = float(np.ptp(points, axis=0).max()) / LINES_PER_PERSON
    return max(1, round(min(by_picture, by_person)))


def _draw_label(canvas: Image, text: str, beside: FloatArray, colour: Colour) -> None:
    """Write dark text on a box of the colour above a point; inside the picture, or not at all if it is too small."""
    height, width = canvas.shape[:2]
    text_height = max(9, round(math.sqrt(height * width) / 34))
    thickness = max(1, text_height // 10)
    scale = cv2.getFontScaleFromHeight(_FONT, text_height, thickness)
    (text_width, _), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = 1 + text_height // 5
    box_width, box_height = text_width + 2 * pad, text_height + 2 * pad
    if box_width > width or box_height > height:
        return
    left = round(min(max(float(beside[0]) - box_width / 2, 0), width - box_width))
    top = round(min(max(float(beside[1]) - box_height - text_height / 2, 0), height - box_height))
    cv2.rectangle(canvas, (left, top), (left + box_width - 1, top + box_height - 1), colour, cv2.FILLED)
    origin = (left + pad, top + pad + text_height - 1)
    cv2.putText(canvas, text, origin, _FONT, scale, OUTLINE, thickness, cv2.LINE_AA)
