"""Predictions survive a kill at any byte, and pycocotools opens what becomes of them."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.people import People
from litepose_ofa.supernet.evaluation.prediction_log import (
    Entry,
    PredictionLog,
    entry_people,
    keep_entries,
    people_entry,
    read_entries,
    write_coco_files,
)


def some_people(seed: int, count: int) -> People:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 500, (count, 14, 3)).astype(np.float32), rng.random(count).astype(np.float32)


def entry(name: str, people: People) -> Entry:
    return {"file_name": name, "width": 640, "height": 480, "people": people_entry(people)}


def write_log(path: Path, entries: list[Entry]) -> None:
    with PredictionLog(path) as log:
        for one in entries:
            log.append(one)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_people_come_back(count: int) -> None:
    people, scores = some_people(0, count)
    back, back_scores = entry_people({"people": json.loads(json.dumps(people_entry((people, scores))))}, 14)
    assert back.shape == (count, 14, 3)
    np.testing.assert_allclose(back, people, atol=0.0006)
    np.testing.assert_allclose(back_scores, scores, atol=1e-6)


def test_lines_are_readable_while_the_log_is_open(tmp_path: Path) -> None:
    entries = [entry(f"ü{index}.jpg", some_people(index, index)) for index in range(3)]
    with PredictionLog(tmp_path / "log") as log:
        for count, one in enumerate(entries, start=1):
            log.append(one)
            assert list(read_entries(tmp_path / "log")) == entries[:count]
    write_log(tmp_path / "log", entries)
    assert list(read_entries(tmp_path / "log")) == entries * 2
    assert list(read_entries(tmp_path / "none")) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_line_is_dropped_and_the_log_goes_on(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "log"
    path.unlink(missing_ok=True)
    entries = [entry(f"{index}.jpg", some_people(index, 1)) for index in range(3)]
    write_log(path, entries)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert list(read_entries(path)) == entries[:whole]
    keep_entries(path, lambda one: True)
    write_log(path, entries[whole:])
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"people": None},
        {"people": [{}]},
        {"people": [{"keypoints": [1, 2, 3], "score": "1"}]},
        {"people": [{"keypoints": [1, 2], "score": 1}]},
        {"people": [{"keypoints": [1, 2, math.nan], "score": 1}]},
        {"people": [{"keypoints": ["1", 2, 3], "score": 1}]},
        {"file_name": 5},
        {"width": "640"},
    ],
)
def test_a_line_that_is_no_entry_ends_the_log(tmp_path: Path, change: Entry) -> None:
    entries = [entry(f"{index}.jpg", some_people(index, 1)) for index in range(3)]
    write_log(tmp_path / "log", [entries[0], entries[1] | change, entries[2]])
    assert list(read_entries(tmp_path / "log")) == entries[:1]


def test_people_of_another_skeleton_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="people of other than 17 keypoints; remove it"):
        entry_people(entry("a.jpg", some_people(0, 1)), 17)
    os.mkfifo(tmp_path / "log")
    with pytest.raises(InputError, match="log: is a pipe"):
        list(read_entries(tmp_path / "log"))


def test_entries_can_be_dropped(tmp_path: Path) -> None:
    entries = [entry(f"{index}.jpg", some_people(index, 2)) for index in range(4)]
    write_log(tmp_path / "log", entries)
    keep_entries(tmp_path / "log", lambda one: one["file_name"] != "1.jpg")
    assert list(read_entries(tmp_path / "log")) == [entries[0], *entries[2:]]


def test_pycocotools_opens_the_two_files(tmp_path: Path) -> None:
    entries = [entry(f"sub/{index}.jpg", some_people(index, index)) for index in range(4)]
    write_log(tmp_path / "log", entries)
    write_coco_files(tmp_path / "log", tmp_path / "results.json", tmp_path / "images.json", CROWDPOSE)
    images = COCO(str(tmp_path / "images.json"))
    results = images.loadRes(str(tmp_path / "results.json"))
    assert [image["file_name"] for image in images.loadImgs(sorted(images.getImgIds()))] == [
        one["file_name"] for one in entries
    ]
    for image_id, one in enumerate(entries, start=1):
        people = results.loadAnns(results.getAnnIds(imgIds=[image_id]))
        assert [person["keypoints"] for person in people] == [person["keypoints"] for person in one["people"]]
        assert [person["score"] for person in people] == [person["score"] for person in one["people"]]
    category = images.loadCats([1])[0]
    assert category["keypoints"] == list(CROWDPOSE.keypoints)
    assert category["skeleton"] == [[start + 1, end + 1] for start, end in CROWDPOSE.limbs]


def test_pictures_without_people_are_an_empty_list(tmp_path: Path) -> None:
    write_log(tmp_path / "log", [entry("a.jpg", some_people(0, 0))])
    write_coco_files(tmp_path / "log", tmp_path / "results.json", tmp_path / "images.json", CROWDPOSE)
    assert json.loads((tmp_path / "results.json").read_text()) == []
    assert len(json.loads((tmp_path / "images.json").read_text())["images"]) == 1
