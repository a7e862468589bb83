import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.checking import CheckedSplit, check_split, compare_splits, describe_split
from litepose_ofa.supernet.data.coco.reader import read_annotations
from litepose_ofa.supernet.data.coco.splits import SplitFiles
from litepose_ofa.supernet.data.findings import Finding, FindingLog, Kind, raise_if_stopping
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError

WriteFolder = Callable[[dict[str, Any]], tuple[Path, Path]]
LEVELS = {"easy": (-np.inf, 0.2), "medium": (0.2, 0.8), "hard": (0.8, np.inf)}


def found(checked: CheckedSplit) -> dict[Kind, list[int | str]]:
    return checked.log.entries


@pytest.fixture
def files(content: dict[str, Any], write_folder: WriteFolder) -> SplitFiles:
    return SplitFiles(*write_folder(content))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_good_folder_has_uses_alone(files: SplitFiles, workers: int) -> None:
    progress: list[tuple[int, int]] = []
    checked = check_split(files, CROWDPOSE, workers=workers, on_progress=lambda done, of: progress.append((done, of)))
    assert found(checked) == {Kind.NOBODY: [3], Kind.WITHOUT_KEYPOINTS: [4], Kind.CROWD: [2]}
    assert checked.log.stopping() == []
    assert progress == [(1, 2), (2, 2)]


def test_uses_are_found_by_their_entries(content: dict[str, Any], write_folder: WriteFolder) -> None:
    person = content["annotations"][0]
    outside = [*person["keypoints"]]
    outside[3:6] = [40.5, 7, 1]
    unlabelled = [*person["keypoints"]]
    unlabelled[3:6] = [400, 7, 0]
    content["annotations"] += [
        {**person, "id": 20, "bbox": [3, 5, 0, 14]},
        {**person, "id": 21, "keypoints": outside},
        {**person, "id": 22, "keypoints": unlabelled},
        {**person, "id": 23, "num_keypoints": 3},
        {**person, "id": 24, "num_keypoints": 14, "area": 4.0},
    ]
    checked = check_split(SplitFiles(*write_folder(content)), CROWDPOSE)
    assert found(checked)[Kind.EMPTY_BOX] == [20]
    assert found(checked)[Kind.KEYPOINT_OUTSIDE] == [21]
    assert found(checked)[Kind.KEYPOINT_COUNT] == [23]
    assert Kind.NO_AREA not in found(checked), "CrowdPose takes the box's"


def test_image_files_are_named(files: SplitFiles) -> None:
    rng = np.random.default_rng(1)
    (files.images / "7.png").unlink()
    assert found(check_split(files, CROWDPOSE))[Kind.MISSING_IMAGE] == [7]
    (files.images / "7.png").write_bytes(b"no image")
    cv2.imwrite(str(files.images / "3.png"), rng.integers(0, 256, (30, 41, 3), np.uint8))
    checked = check_split(files, CROWDPOSE)
    assert found(checked)[Kind.CORRUPT_IMAGE] == [7]
    assert found(checked)[Kind.IMAGE_SIZE] == [3]
    assert checked.log.stopping() == [Kind.CORRUPT_IMAGE, Kind.IMAGE_SIZE]
    assert checked.log.stopping(tolerated=[Kind.CORRUPT_IMAGE]) == [Kind.IMAGE_SIZE]
    cv2.imwrite(str(files.images / "7.png"), rng.integers(0, 256, (30, 40), np.uint8))
    cv2.imwrite(str(files.images / "3.png"), rng.integers(0, 1 << 16, (30, 40, 4), np.uint16))
    checked = check_split(files, CROWDPOSE)
    assert found(checked)[Kind.GREY] == [7]
    assert found(checked)[Kind.ALPHA] == found(checked)[Kind.SIXTEEN_BIT] == [3]
    assert not checked.log.stopping()


def test_no_folder_and_no_annotations_are_findings(files: SplitFiles, tmp_path: Path) -> None:
    nowhere = check_split(SplitFiles(files.annotations, tmp_path / "absent"), CROWDPOSE)
    assert nowhere.log.stopping() == [Kind.UNREADABLE_FILE]
    assert nowhere.log.examples[Kind.UNREADABLE_FILE].endswith("absent: no such folder of images")
    files.annotations.write_text('{"images": [')
    broken = check_split(files, CROWDPOSE)
    assert broken.log.counts == {Kind.UNREADABLE_FILE: 1}
    assert "is not JSON" in broken.log.examples[Kind.UNREADABLE_FILE]
    assert describe_split(broken.images.annotations, LEVELS)["images"] == 0


def test_splits_share_neither_files_nor_pictures(files: SplitFiles, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "a.png").write_bytes((files.images / "3.png").read_bytes())
    (copies / "b.png").write_bytes((files.images / "3.png").read_bytes())
    pictures = [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(("a.png", "b.png"))]
    (tmp_path / "other.json").write_text(json.dumps({"images": pictures, "annotations": []}))
    other = SplitFiles(tmp_path / "other.json", copies)
    train, val = check_split(files, CROWDPOSE), check_split(other, CROWDPOSE)
    assert found(val)[Kind.SAME_PICTURE] == [str(copies / "b.png")]
    assert compare_splits({"train": (files, train)}).counts == {}
    between = compare_splits({"train": (files, train), "val": (other, val)})
    assert between.entries == {Kind.SAME_PICTURE: [str(copies / "a.png"), str(copies / "b.png")]}
    assert between.stopping() == []
    twice = compare_splits({"train": (files, train), "val": (files, train)})
    assert twice.entries[Kind.SHARED_IMAGE] == [str(files.images / name) for name in ("3.png", "7.png")]
    assert twice.stopping() == [Kind.SHARED_IMAGE]


def test_what_a_split_holds(files: SplitFiles, content: dict[str, Any]) -> None:
    content["images"][0]["crowdIndex"] = 0.2
    files.annotations.write_text(json.dumps(content))
    held = describe_split(read_annotations(files.annotations, CROWDPOSE), LEVELS)
    assert held == {
        "images": 2,
        "images_with_people": 1,
        "people": 1,
        "people_an_image": {"min": 1, "median": 1, "max": 1},
        "people_without_keypoints": 1,
        "crowds": 1,
        "joints": {"visible": 7, "hidden": 7, "unlabelled": 0},
        "image_width": {"min": 40, "median": 40, "max": 40},
        "image_height": {"min": 30, "median": 30, "max": 30},
        "box_height": {"min": 14, "median": 14, "max": 14},
        "crowd_index": {"easy": 0, "medium": 1, "hard": 0, "unknown": 1},
    }


def test_findings_are_counted_beyond_those_that_are_kept() -> None:
    log = FindingLog(kept=2)
    for number in range(5):
        log(Finding(Kind.CROWD, number, f"annotation {number} is a crowd"))
    log(Finding(Kind.MISSING_IMAGE, "a.png", "a.png: cannot be read"))
    assert log.kinds() == [Kind.MISSING_IMAGE, Kind.CROWD]
    assert json.loads(json.dumps(log.to_dict()))["crowd"] == {
        "effect": "used",
        "count": 5,
        "entries": [0, 1],
        "first": "annotation 0 is a crowd",
        "meaning": Kind.CROWD.meaning,
    }


def test_a_strict_reader_stops_at_what_stops_a_training() -> None:
    raise_if_stopping(Finding(Kind.CROWD, 1, "used"))
    with pytest.raises(InputError, match="the line"):
        raise_if_stopping(Finding(Kind.BAD_ANNOTATION, 1, "the line"))


def test_every_kind_of_finding_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[4] / "docs" / "datasets.md").read_text()
    for kind in Kind:
        assert f"| `{kind.name.lower()}` | {kind.effect.value} | {kind.meaning} |" in page
