"""Mosaics against a plain reference: every pixel, joint and mask element looked up one by one in its own picture."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data.coco.dataset import BadImageError, ImageRecord, KeypointDataset
from litepose_ofa.supernet.data.coco.records import IgnoreRegions
from litepose_ofa.supernet.data.loading.augmentation import Augmentation, ColourJitter, RandomErasing, Transform
from litepose_ofa.supernet.data.loading.batches import SampleRequest, TrainingImages
from litepose_ofa.supernet.data.loading.mosaic import Cell, Mosaic
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import validate

Image = npt.NDArray[np.uint8]
Point = tuple[float, float]
Tile = tuple[int, Transform, Cell]

ALWAYS = Mosaic(probability=1.0)
LEFT, RIGHT = CROWDPOSE.keypoints.index("left_shoulder"), CROWDPOSE.keypoints.index("right_shoulder")


class InMemory(KeypointDataset):
    """Images in memory; those that are None fail."""

    def __init__(self, images: list[Image | None], records: list[ImageRecord]) -> None:
        super().__init__(Path("all.json"), Path(), CROWDPOSE, records)
        self.images = images

    def read_image(self, index: int) -> Image:
        image = self.images[index]
        if image is None:
            raise BadImageError(f"{self.records[index].path}: does not decode")
        return image


def colour_at(index: int, x: float, y: float) -> tuple[float, float, float]:
    """The colour of a picture at a point: half a pixel beside it every channel but the last is 2 off, or more."""
    return 4 * x + index, 4 * y + index, 40.0 * (index + 1)


def slopes(count: int, seed: int) -> InMemory:
    """Pictures with linear colours, three people each, some joints at or beyond the border, and an ignored box."""
    rng = np.random.default_rng(seed)
    images: list[Image | None] = []
    records = []
    for index in range(count):
        width, height = rng.integers(40, 61, 2).tolist()
        colours = [[colour_at(index, x + 0.5, y + 0.5) for x in range(width)] for y in range(height)]
        images.append(np.rint(colours).astype(np.uint8))
        points = rng.uniform((-4, -4), (width + 4, height + 4), (3, 14, 2))
        points[0, :4] = (0, 0), (width, 0), (0, height), (width, height)
        keypoints = np.dstack([points, rng.integers(0, 3, (3, 14))]).astype(np.float32)
        left, top = rng.uniform((0, 0), (width / 2, height / 2))
        right, bottom = rng.uniform((width / 2, height / 2), (width, height))
        outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)
        path = Path(f"{index}.png")
        records.append(ImageRecord(100 + index, path, width, height, keypoints, IgnoreRegions((outline,))))
    return InMemory(images, records)


def tiles_of(images: TrainingImages, request: SampleRequest) -> list[Tile]:
    """Return which pictures a request shows, how, and where: drawn in this order from the stream (seed, 1)."""
    augmentation = images.augmentation
    assert augmentation is not None
    rng = np.random.default_rng((request.seed, 1))
    cells = augmentation.mosaic.draw(rng, request.size)
    steps = [0, *(1 + rng.choice(len(images) - 1, len(cells) - 1, replace=False)).tolist()]
    seeds = [request.seed, *rng.integers(2**31, size=len(cells) - 1).tolist()]
    return [
        ((request.index + step) % len(images), augmentation.draw(seed), cell)
        for step, seed, cell in zip(steps, seeds, cells, strict=True)
    ]


def geometry(record: ImageRecord, drawn: Transform, cell: Cell) -> tuple[float, float, Point, Point, Point]:
    """Return zoom, angle, the picture's middle, where it goes before the mirror, and the cell's middle."""
    side = math.sqrt((cell.right - cell.left) * (cell.bottom - cell.top))
    zoom = side / (min(record.width, record.height) * drawn.scale)
    middle = (cell.left + cell.right) / 2, (cell.top + cell.bottom) / 2
    target = middle[0] + side * drawn.translation[0], middle[1] + side * drawn.translation[1]
    return zoom, math.radians(drawn.rotation_degrees), (record.width / 2, record.height / 2), target, middle


def to_input(point: Point, record: ImageRecord, drawn: Transform, cell: Cell) -> Point:
    """Shift, scale, turn, shift, mirror."""
    zoom, angle, centre, target, middle = geometry(record, drawn, cell)
    x, y = zoom * (point[0] - centre[0]), zoom * (point[1] - centre[1])
    x, y = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
    x, y = x + target[0], y + target[1]
    return (2 * middle[0] - x if drawn.flip else x), y


def to_picture(point: Point, record: ImageRecord, drawn: Transform, cell: Cell) -> Point:
    """The same backwards."""
    zoom, angle, centre, target, middle = geometry(record, drawn, cell)
    x, y = (2 * middle[0] - point[0] if drawn.flip else point[0]), point[1]
    x, y = x - target[0], y - target[1]
    x, y = math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y
    return x / zoom + centre[0], y / zoom + centre[1]


def holds(cell: Cell, point: Point) -> bool:
    return cell.left <= point[0] < cell.right and cell.top <= point[1] < cell.bottom


def plain_people(dataset: InMemory, tiles: list[Tile]) -> list[npt.NDArray[np.float64]]:
    people = []
    for index, drawn, cell in tiles:
        record = dataset.records[index]
        for person in record.keypoints.tolist():
            shown = np.zeros((14, 3))
            for k, name in enumerate(CROWDPOSE.keypoints):
                swapped = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
                x, y, visibility = person[CROWDPOSE.keypoints.index(swapped) if drawn.flip else k]
                place = to_input((x, y), record, drawn, cell)
                if visibility > 0 and holds(cell, place):
                    shown[k] = (*place, visibility)
            if shown[:, 2].any():
                people.append(shown)
    return people


GEOMETRIES = {
    "published": Augmentation(mosaic=ALWAYS),
    "small": Augmentation(scale=(1.6, 2.2), translation=0.2, rotation_degrees=180.0, mosaic=ALWAYS),
    "masked": Augmentation(scale=(1.6, 2.2), mask_padding=True, mosaic=ALWAYS),
    "still": Augmentation(scale=(0.6, 0.6), translation=0.0, rotation_degrees=0.0, flip=1.0, mosaic=ALWAYS),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("pictures", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_joint_and_mask_element_is_that_of_its_own_picture(name: str, pictures: int, seed: int) -> None:
    """Masks have half the resolution; pixels where OpenCV's rounding of a place decides are passed over."""
    dataset, size = slopes(5, seed), (32, 48, 64)[seed]
    mosaic = Mosaic(probability=1.0, pictures=(pictures, pictures))
    augmentation = dataclasses.replace(GEOMETRIES[name], mosaic=mosaic)
    images = TrainingImages(dataset, augmentation=augmentation)
    request = SampleRequest(seed, size, 1000 + seed)
    sample, tiles = images[request], tiles_of(images, request)
    assert len(tiles) == pictures
    compared = Counter[str]()
    for row, column in np.ndindex(size, size):
        point = column + 0.5, row + 0.5
        ((index, drawn, cell),) = (tile for tile in tiles if holds(tile[2], point))
        record = dataset.records[index]
        x, y = to_picture(point, record, drawn, cell)
        outside = max(-x, x - record.width, -y, y - record.height)
        if outside < -1:
            compared["inside"] += 1
            np.testing.assert_allclose(sample.image[row, column], colour_at(index, x, y), atol=1.3)
        elif outside > 1:
            compared["outside"] += 1
            assert not sample.image[row, column].any()
    for row, column in np.ndindex(size // 2, size // 2):
        point = 2 * column + 1.0, 2 * row + 1.0
        ((index, drawn, cell),) = (tile for tile in tiles if holds(tile[2], point))
        record = dataset.records[index]
        x, y = to_picture(point, record, drawn, cell)
        if min(abs(x - round(x)), abs(y - round(y))) < 0.05:
            continue
        within = 0 <= x < record.width and 0 <= y < record.height
        ignored = (
            record.ignore.draw(record.width, record.height)[int(y), int(x)] if within else augmentation.mask_padding
        )
        compared["masked" if ignored else "counted"] += 1
        assert sample.mask[row, column] == 1 - ignored
    assert compared["inside"] > size**2 / 5
    assert min(compared["masked"], compared["counted"]) > 5
    assert name not in ("small", "masked") or compared["outside"] > size**2 / 20
    expected = plain_people(dataset, tiles)
    assert len(sample.keypoints) == len(expected) > pictures / 2
    for person in sample.keypoints:
        difference = min(float(np.abs(person - other).max()) for other in expected)
        assert difference < 1e-4
    assert sample.image_id == 100 + seed


def dots(count: int) -> InMemory:
    """Black pictures of 240 x 200 with one person: a red dot at the left shoulder, a green one at the right."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(240) + 0.5, np.arange(200) + 0.5)
    images: list[Image | None] = []
    records = []
    for index in range(count):
        image, keypoints = np.zeros((200, 240, 3)), np.zeros((1, 14, 3), np.float32)
        for channel, joint in enumerate((LEFT, RIGHT)):
            a, b = rng.uniform((50, 30), (190, 170))
            keypoints[0, joint] = a, b, 2 - channel
            image[..., channel] = 255 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 32)
        images.append(np.rint(image).astype(np.uint8))
        records.append(ImageRecord(index, Path(f"{index}.png"), 240, 200, keypoints))
    return InMemory(images, records)


def centre_of_mass(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    mass = values.astype(np.float64)
    return np.array([(columns * mass).sum(), (rows * mass).sum()]) / mass.sum()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_a_dot_is_found_at_its_keypoint_in_its_cell_at_the_teacher_s_resolution_too(flip: float) -> None:
    images = TrainingImages(dots(6), augmentation=Augmentation(flip=flip, mosaic=ALWAYS))
    found = 0
    for seed in range(40):
        request = SampleRequest(seed % 6, 192, seed, 256)
        sample, tiles = images[request], tiles_of(images, request)
        assert sample.teacher_image is not None
        for person in sample.keypoints:
            for joint in np.flatnonzero(person[:, 2]).tolist():
                x, y, visibility = person[joint].tolist()
                assert visibility == (1 if (joint == LEFT) == bool(flip) else 2), (
                    "a mirrored left shoulder is a right one"
                )
                ((index, _, cell),) = (tile for tile in tiles if holds(tile[2], (x, y)))
                if min(x - cell.left, cell.right - x, y - cell.top, cell.bottom - y) < 22:
                    continue
                found += 1
                channel = 2 - int(visibility)
                for image, scale in ((sample.image, 1.0), (sample.teacher_image, 256 / 192)):
                    left, top, right, bottom = (round(scale * edge) for edge in cell)
                    dot = centre_of_mass(image[top:bottom, left:right, channel]) + np.array((left, top))
                    np.testing.assert_allclose(dot, (scale * x, scale * y), atol=0.15, err_msg=f"picture {index}")
    assert found > 60


@pytest.mark.parametrize("size", [32, 64, 96, 176, 512])
def test_cells_cover_the_input_without_overlap(size: int) -> None:
    counts = Counter[int]()
    for seed in range(60):
        cells = ALWAYS.draw(np.random.default_rng(seed), size)
        counts[len(cells)] += 1
        for scale in (1.0, 0.5, 160 / size):
            covered = np.zeros((round(scale * size),) * 2, int)
            for cell in cells:
                part = cell.scaled(scale)
                covered[part.top : part.bottom, part.left : part.right] += 1
            assert (covered == 1).all()
        assert all(edge % 2 == 0 for cell in cells for edge in cell)
        assert min(min(cell.size) for cell in cells) >= 0.39 * size - 2
    assert min(counts[number] for number in (2, 3, 4)) >= 10


def test_a_share_of_the_inputs_are_mosaics_and_the_others_are_as_without() -> None:
    """Pictures of a mosaic are different ones of the whole set, the requested one first."""
    dataset = dots(6)
    plain = TrainingImages(dataset, augmentation=Augmentation())
    images = TrainingImages(dataset, augmentation=Augmentation(mosaic=Mosaic(probability=0.3, pictures=(2, 4))))
    mosaics, pairs = 0, Counter[tuple[int, int]]()
    for seed in range(400):
        request = SampleRequest(seed % 6, 32, seed)
        indices = [index for index, _, _ in tiles_of(images, request)]
        assert len(set(indices)) == len(indices)
        assert indices[0] == request.index
        mosaics += len(indices) > 1
        pairs.update((indices[0], other) for other in indices[1:])
        same = all(
            np.array_equal(getattr(images[request], name), getattr(plain[request], name))
            for name in ("image", "keypoints", "mask")
        )
        assert same == (len(indices) == 1)
    assert 90 <= mosaics <= 150
    assert len(pairs) == 6 * 5, "any picture is drawn beside any other"


def test_colours_and_rectangles_are_those_of_each_picture() -> None:
    """A cell is what the picture alone would be, at the place of the cell."""
    augmentation = Augmentation(
        colour=ColourJitter(brightness=0.4, hue_degrees=18.0), erasing=RandomErasing(probability=1.0), mosaic=ALWAYS
    )
    dataset = slopes(4, 0)
    images = TrainingImages(dataset, augmentation=augmentation)
    sample = images[SampleRequest(0, 64, 5)]
    for index, drawn, cell in tiles_of(images, SampleRequest(0, 64, 5)):
        record = dataset.records[index]
        image = dataset.read_image(index)
        assert drawn.colour is not None
        side = math.sqrt(math.prod(cell.size))
        matrix = drawn.matrix(record.width, record.height, side)
        matrix[:, 2] += (cell.size[0] - side) / 2, (cell.size[1] - side) / 2
        expected = drawn.render(drawn.colour.apply(image), matrix, cell.size)
        difference = sample.image[cell.top : cell.bottom, cell.left : cell.right].astype(int) - expected
        assert np.abs(difference).max() <= 1


def test_the_largest_people_of_all_cells_are_kept() -> None:
    images, few = (
        TrainingImages(slopes(4, 1), augmentation=Augmentation(mosaic=ALWAYS), max_people=n) for n in (30, 3)
    )
    request = SampleRequest(0, 64, 1)
    everyone = images[request].keypoints
    assert len(everyone) > 3
    spans = [math.prod(np.ptp(person[person[:, 2] > 0, :2], axis=0)) for person in everyone]
    assert spans == sorted(spans, reverse=True)
    np.testing.assert_array_equal(few[request].keypoints, everyone[:3])


def test_a_bad_picture_of_a_mosaic_is_an_error_or_makes_way_for_the_next() -> None:
    dataset = slopes(6, 0)
    images = TrainingImages(dataset, augmentation=Augmentation(mosaic=ALWAYS))
    request = SampleRequest(0, 64, 3)
    bad = tiles_of(images, request)[1][0]
    dataset.images[bad] = None
    with pytest.raises(BadImageError, match=f"{bad}.png"):
        images[request]
    dataset.on_bad_image = "skip"
    assert images[request].bad_images == (Path(f"{bad}.png"),)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probability": 1.5}, r"^mosaic.probability is 1.5; it must be a number from 0 to 1$"),
        ({"probability": -0.1}, r"^mosaic.probability is -0.1; it must be a number from 0 to 1$"),
        ({"pictures": [1, 4]}, r"^mosaic.pictures is \(1, 4\); it must be ascending and from 2 to 4$"),
        ({"pictures": [3, 2]}, r"^mosaic.pictures is \(3, 2\); it must be ascending"),
        ({"pictures": [2, 9]}, r"^mosaic.pictures is \(2, 9\); it must be ascending"),
        ({"pictures": 3}, r"^mosaic.pictures is 3; it must be a list of 2 integers$"),
        ({"pictures": [2.5, 3]}, r"^mosaic.pictures"),
    ],
)
def test_bad_settings_are_refused_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(Mosaic, values, key="mosaic")


def test_a_mosaic_of_more_pictures_than_there_are_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^training.augmentation.mosaic.pictures is 4; it must be at most the 3 images of"
    ):
        TrainingImages(dots(3), augmentation=Augmentation(mosaic=ALWAYS))
    TrainingImages(dots(3), augmentation=Augmentation(mosaic=Mosaic(pictures=(4, 4))))
    TrainingImages(dots(3), augmentation=Augmentation(mosaic=Mosaic(probability=1.0, pictures=(2, 3))))
