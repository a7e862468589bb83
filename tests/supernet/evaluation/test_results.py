"""Results files: the official format, written whole, and worth the same AP when they are read again."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import write_results
from litepose_ofa.supernet.evaluation.keypoint_ap import compare_people, official_metrics, official_parameters
from litepose_ofa.supernet.evaluation.results import PeopleResults, as_people_results
from litepose_ofa.supernet.files import read_json

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
    again = read_json(path)
    assert len(again) == len(results)
    for found, (image_id, keypoints, score) in zip(again, entries, strict=True):
        assert set(found) == {"image_id", "category_id", "keypoints", "score"}
        assert (found["image_id"], found["category_id"]) == (image_id, 1)
        assert found["keypoints"] == pytest.approx(keypoints, abs=5.1e-4)
        assert found["score"] == pytest.approx(score, abs=5.1e-7)
    write_results(path, again)
    assert read_json(path) == again


@settings(max_examples=20, deadline=None)
@given(entries=people)
def test_arrays_are_people_in_coco_form(entries: list[Any]) -> None:
    results = results_of(entries)
    assert [person["image_id"] for person in results] == [entry[0] for entry in entries]
    assert len(results) == len(list(results))
    assert json.loads(json.dumps(list(results))) == list(results)
    assert list(as_people_results(list(results), 2)) == list(results)
    assert as_people_results(results, 2) is results


def strange(dataset: Json, skeleton: Skeleton) -> Json:
    """The same people in a file with none of COCO's constants: other ids of images, people and categories."""
    new_ids = (0, -7, 1 << 40, *range(40, 31, -1))
    image_ids = {image["id"]: new_id for image, new_id in zip(dataset["images"], new_ids, strict=True)}
    dataset = {**dataset, "images": [{**image, "id": image_ids[image["id"]]} for image in reversed(dataset["images"])]}
    dataset["annotations"] = [
        {
            **person,
            "id": 1_000_000 - 3 * person["id"],
            "image_id": image_ids[person["image_id"]],
            "category_id": 7,
            "area": 0.53 * person["bbox"][2] * person["bbox"][3] if skeleton.area == "box" else person["area"],
        }
        for person in dataset["annotations"]
    ]
    animal = {**dataset["annotations"][-1], "id": 5, "category_id": 2, "keypoints": [], "num_keypoints": 0}
    dataset["annotations"].insert(0, animal)
    dataset["categories"] = [
        {"id": 2, "name": "dog", "keypoints": []},
        {"id": 7, "name": "human", "keypoints": list(skeleton.keypoints)},
    ]
    return dataset


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("part", [False, True])
def test_the_official_evaluation_gives_the_same_ap_whatever_the_dataset_s_constants(
    skeleton: Skeleton,
    part: bool,
    tmp_path: Path,
    random_people: Callable[..., Any],
    official_evaluation: Callable[..., dict[str, float]],
) -> None:
    people = random_people(skeleton, equal_scores=False, change=lambda dataset: strange(dataset, skeleton))
    image_ids = sorted({person["image_id"] for person in people.dataset["annotations"]})[:5] if part else None
    records = AnnotatedImages(load_annotations(people.path, skeleton), tmp_path)
    predictions = [each for each in people.predictions if each["keypoints"] and each["image_id"] != 105]
    found = as_people_results(predictions, skeleton.num_keypoints)
    folder = KeypointDataset(people.path, tmp_path, skeleton, records)
    assert folder.person_category == 7
    comparison = compare_people(people.path, found, skeleton, image_ids=image_ids)
    ap = official_metrics(comparison)["AP"]
    assert 0.1 < ap < 0.9
    write_results(tmp_path / "results.json", replace(found, category_id=folder.person_category))
    parameters = official_parameters(comparison)
    assert parameters.keys() - {"kpt_oks_sigmas"} == ({"imgIds"} if part else set())
    official = official_evaluation(people.path, str(tmp_path / "results.json"), **parameters)
    assert official["AP"] == pytest.approx(ap, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_id": None}, "prediction 1 is of image None; it must be an integer"),
        ({"keypoints": [1.0] * 9}, "prediction 1: 'keypoints' must be 6 finite numbers"),
        ({"keypoints": "left"}, "prediction 1: 'keypoints' must be 6 finite numbers"),
        ({"score": None}, "prediction 1: 'score' must be 1 finite number"),
    ],
)
def test_bad_predictions_are_named(change: Json, told: str) -> None:
    good = {"image_id": 100, "keypoints": [1.0] * 6, "score": 0.5}
    with pytest.raises(InputError, match=told):
        as_people_results([good, good | change], 2)


def test_arrays_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="have 2 keypoints; the annotations have 17"):
        as_people_results(results_of([(1, [1.0] * 6, 0.5)]), 17)
    for broken in (math.nan, math.inf):
        with pytest.raises(InputError, match="prediction 1: keypoints and score must be finite"):
            as_people_results(results_of([(1, [1.0] * 6, 0.5), (2, [broken] * 6, 0.5)]), 2)
