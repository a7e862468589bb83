"""Damaged annotation files and images: 2,000 of them; each is refused in one line, or every entry is used or named."""

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle_codec

from litepose_ofa.supernet.data.coco.checking import describe_split, report_uses
from litepose_ofa.supernet.data.coco.reader import load_annotations, read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.findings import Effect, FindingLog, Kind
from litepose_ofa.supernet.data.image_files import BadImageError, read_image_file
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError

PAIR = Skeleton("pair", ("left", "right"), ((0, 1),), (0.05, 0.05), "annotation", ((0, 1),))
IMAGES, PEOPLE = 3, 6

FUZZ = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}

STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 50),
    st.sampled_from([1 << 63, -(1 << 70), 10**400, 1e308, -1e308, 0.5, float("nan"), float("inf")]),
    st.sampled_from(["", "7", "\0", "a\nb", "\ud800", "../1.png", "/1.png", "1.png/../2.png", "a" * 5000, "PT0100"]),
    st.sampled_from([[], {}, [[]], [None], ["x"], {"counts": [99999]}, {"counts": "0" * 99}, {"size": [4, 4]}]),
    st.lists(st.one_of(st.integers(-9, 9), st.floats()), max_size=7),
)

numbers = itertools.count()


COMPRESSED = {"counts": rle_codec.encode(np.asfortranarray(np.eye(8, dtype=np.uint8)))["counts"].decode()}


def document() -> dict[str, Any]:
    regions: tuple[Any, ...] = (
        {"counts": [0, 8, 40, 16]},
        dict(COMPRESSED),
        [[0, 0, 7, 0, 0, 7]],
        [],
        None,
        "absent",
    )
    people = []
    for number, region in enumerate(regions):
        person = {"id": number, "image_id": number % IMAGES, "category_id": 1, "bbox": [1, 1, 5, 6.5], "area": 30}
        person |= {"iscrowd": number % 2, "num_keypoints": 2, "keypoints": [1, 2, 2, 7.5, 3, 1]}
        people.append(person if region == "absent" else {**person, "segmentation": region})
    pictures = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 8, "crowdIndex": 0.1} for i in range(IMAGES)]
    category = {"id": 1, "name": "person", "keypoints": ["left", "right"]}
    return {"info": {"year": 2017}, "images": pictures, "annotations": people, "categories": [category]}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


PLACES = places(document())[1:]


@st.composite
def changed_documents(draw: st.DrawFn) -> dict[str, Any]:
    content = document()
    for _ in range(draw(st.integers(1, 4))):
        *path, last = draw(st.sampled_from(PLACES))
        parent = content
        try:
            for key in path:
                parent = parent[key]
            change = draw(st.sampled_from(["replace", "delete", "copy"]))
            if change == "replace":
                parent[last] = copy.deepcopy(draw(STRANGE))
            elif change == "delete":
                del parent[last]
            elif isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
        except (KeyError, IndexError, TypeError):
            continue
    return content


def check(path: Path) -> FindingLog:
    """Read a file in both manners; every entry must be used, or named and counted."""
    log = FindingLog()
    annotations = read_annotations(path, PAIR, log)
    if all(kind is not Kind.UNREADABLE_FILE for kind in log.counts):
        content = json.loads(path.read_text())
        lost = {kind: log.counts.get(kind, 0) for kind in Kind if kind.effect is not Effect.USED}
        of_images = (Kind.BAD_IMAGE_ENTRY, Kind.OUTSIDE_FOLDER, Kind.DUPLICATE_IMAGE_ID, Kind.DUPLICATE_FILE)
        not_used = sum(lost.pop(kind) for kind in of_images)
        assert len(annotations.image_ids) + not_used == len(content["images"])
        lost.pop(Kind.BAD_CATEGORIES)
        assert len(annotations.ids) + sum(lost.values()) == len(content["annotations"])
    report_uses(annotations, log)
    json.dumps([log.to_dict(), describe_split(annotations, {"easy": (0, 0.2)})])
    for record in AnnotatedImages(annotations, Path("images")):
        assert record.path.parts[0] == "images"
        assert ".." not in record.path.parts
        assert record.ignore.draw(record.width, record.height).shape == (record.height, record.width)
        assert np.isfinite(record.keypoints).all()
    refusal = refused(lambda: AnnotatedImages(load_annotations(path, PAIR), Path("images")))
    assert (refusal is not None) == bool(log.stopping())
    assert refusal is None or "\n" not in refusal
    return log


def refused(read: Callable[[], object]) -> str | None:
    """Return the line of a refusal, None if there is none; anything but a refusal is an error."""
    try:
        read()
    except InputError as error:
        return str(error)
    return None


@settings(max_examples=600, **FUZZ)
@given(content=changed_documents())
def test_changed_values(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / f"{next(numbers)}.json"
    path.write_text(json.dumps(content))
    check(path)


@settings(max_examples=700, **FUZZ)
@given(data=st.data())
def test_changed_bytes(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(json.dumps(document()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'0-9.eE"[]{},:\\ntf')))
    path = tmp_path / f"{next(numbers)}.json"
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    check(path)


def encoded(suffix: str, shape: tuple[int, ...]) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


FILES = tuple(
    encoded(suffix, shape) for suffix in (".png", ".jpg", ".bmp", ".webp", ".tiff") for shape in ((9, 12, 3), (9, 12))
)


@st.composite
def changed_images(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(FILES)))
    change = draw(st.sampled_from(["cut", "flip", "header", "insert"]))
    if change == "cut":
        del content[draw(st.integers(0, len(content))) :]
    elif change == "flip":
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
            content[place] ^= 1 << draw(st.integers(0, 7))
    elif change == "header":
        place = draw(st.integers(0, min(64, len(content) - 4)))
        content[place : place + 4] = draw(
            st.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\1\0\0"])
        )
    else:
        place = draw(st.integers(0, len(content)))
        content[place:place] = draw(st.binary(min_size=1, max_size=40))
    return bytes(content)


@settings(max_examples=700, **FUZZ)
@given(content=changed_images())
@pytest.mark.filterwarnings("error")
def test_changed_images(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    try:
        image = read_image_file(path, (12, 9))
    except BadImageError as error:
        line = str(error)
        assert "\n" not in line
        assert str(path) in line
    else:
        assert image.shape == (9, 12, 3)
        assert image.dtype == np.uint8
