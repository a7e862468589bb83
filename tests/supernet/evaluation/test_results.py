"""Results files: the official format, written whole, and worth the same AP when they are read again."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from supernet.data.skeletons import COCO as COCO_SKELETON
from supernet.data.skeletons import SKELETONS, Skeleton
from supernet.errors import InputError
from supernet.evaluation import evaluate_keypoints, read_results, write_results
from supernet.evaluation.results import PeopleResults, as_people_results
from supernet.files import read_json, write_json

Json = dict[str, Any]

numbers = st.floats(-1e4, 1e4, width=32)
people = st.lists(
    st.tuples(st.integers(0, 2**40), st.lists(numbers, min_size=6, max_size=6), st.floats(0, 1, width=32))
)


def results_of(entries: list[tuple[int, list[float], float]]) -> PeopleResults:
    return PeopleResults(
        np.array([entry[0] for entry in entries], np.int64),
        np.array([entry[1] for entry in entries], np.float32).reshape(-1, 2, 3),
        np.array([entry[2] for entry in entries], np.float32),
    )


@settings(max_examples=50, deadline=None)
@given(entries=people)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, entries: list[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "results.json"
    results = results_of(entries)
    write_results(path, results)
    again = read_results(path)
    assert len(again) == len(results)
    for found, (image_id, keypoints, score) in zip(again, entries, strict=True):
        assert set(found) == {"image_id", "category_id", "keypoints", "score"}
        assert (found["image_id"], found["category_id"]) == (image_id, 1)
        assert found["keypoints"] == pytest.approx(keypoints, abs=5.1e-4)
        assert found["score"] == pytest.approx(score, abs=5.1e-7)
    write_results(path, again)
    assert read_results(path) == again


@settings(max_examples=20, deadline=None)
@given(entries=people)
def test_arrays_are_a_sequence_of_people_in_coco_form(entries: list[Any]) -> None:
    results = results_of(entries)
    assert [person["image_id"] for person in results] == [entry[0] for entry in entries]
    assert results == list(results)
    assert results[1:] == list(results)[1:]
    assert json.loads(json.dumps(list(results))) == list(results)
    plain = as_people_results(list(results), 2)
    assert plain == results
    assert as_people_results(results, 2) is results


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_a_file_is_worth_the_same_ap_and_official_tools_take_it(
    skeleton: Skeleton, tmp_path: Path, make_dataset: Callable[..., Json], noisy_predictions: Callable[..., list[Json]]
) -> None:
    dataset = make_dataset(skeleton)
    write_json(tmp_path / "people.json", dataset)
    predictions = noisy_predictions(dataset)
    write_results(tmp_path / "results.json", predictions)
    before, after = (
        evaluate_keypoints(tmp_path / "people.json", people, skeleton)
        for people in (predictions, read_results(tmp_path / "results.json"))
    )
    assert after == pytest.approx(before, abs=1e-9)
    truth = COCO(tmp_path / "people.json")
    loaded = truth.loadRes(str(tmp_path / "results.json"))
    assert len(loaded.getAnnIds()) == len(predictions)
    assert len(loaded.loadAnns(1)[0]["keypoints"]) == 3 * skeleton.num_keypoints


def test_coordinates_are_rounded_to_thousandths(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", results_of([(7, [1.23456, 2.0, 0.98765, 0, 0, 0], 0.123456789)]))
    assert read_json(tmp_path / "results.json") == [
        {"image_id": 7, "category_id": 1, "keypoints": [1.235, 2.0, 0.988, 0.0, 0.0, 0.0], "score": 0.123457}
    ]


def test_nobody_is_an_empty_list(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", [])
    assert read_results(tmp_path / "results.json") == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    good = {"image_id": 1, "keypoints": [1.0, 2.0, 1.0], "score": 0.5}
    write_results(path, [good])
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_results(path, [good, {}])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_list_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"people": []})
    with pytest.raises(InputError, match=r"results\.json: is not a list of people"):
        read_results(tmp_path / "results.json")
    with pytest.raises(InputError, match="no such file"):
        read_results(tmp_path / "absent.json")


def test_arrays_that_do_not_fit_are_named() -> None:
    results = results_of([(1, [1.0] * 6, 0.5), (2, [2.0] * 6, 0.5)])
    with pytest.raises(InputError, match="have 2 keypoints; the annotations have 17"):
        as_people_results(results, COCO_SKELETON.num_keypoints)
    for broken in ([math.nan] * 6, [math.inf] * 6):
        with pytest.raises(InputError, match="prediction 1: keypoints and score must be finite"):
            as_people_results(results_of([(1, [1.0] * 6, 0.5), (2, broken, 0.5)]), 2)
    entry: Any = "nobody"
    with pytest.raises(InputError, match="prediction 0 is of image None"):
        as_people_results([entry], 2)
