"""The parts of an AP: closed forms of hand-made people, and the official numbers of the same parts."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.evaluation import (
    FoundSettings,
    compare_people,
    evaluate_keypoints,
    found_people,
    keypoint_breakdown,
)
from litepose_ofa.supernet.files import write_json

Json = dict[str, Any]
RandomPeople = Any

THREE = Skeleton(
    name="three", keypoints=("head", "left_hand", "right_hand"), limbs=(), sigmas=(0.1, 0.05, 0.05), area="box"
)
AREA = 0.53 * 100 * 100
POINTS = np.array([[50.0, 10.0], [10.0, 50.0], [90.0, 50.0]])


def person(number: int, visibility: tuple[int, ...] = (2, 2, 2), *, left: float = 0.0, scale: float = 1.0) -> Json:
    keypoints = np.column_stack([POINTS * scale + [left, 0], visibility])
    keypoints[keypoints[:, 2] == 0] = 0
    box = [left, 0.0, 100.0 * scale, 100.0 * scale]
    annotation = {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0, "area": box[2] * box[3]}
    return annotation | {"keypoints": keypoints.ravel().tolist(), "num_keypoints": int(np.count_nonzero(visibility))}


def prediction(annotation: Json, moved: dict[int, float], score: float = 0.9) -> Json:
    """The annotation itself, except that some keypoints are so many pixels to the right."""
    keypoints = np.array(annotation["keypoints"]).reshape(-1, 3)
    for keypoint, distance in moved.items():
        keypoints[keypoint, 0] += distance
    return {"image_id": 1, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": score}


def write_people(path: Path, people: list[Json], **image: Any) -> Path:
    picture = {"id": 1, "file_name": "1.jpg", "width": 640, "height": 480, **image}
    write_json(path, {"images": [picture], "annotations": people, "categories": [{"id": 1, "name": "person"}]})
    return path


def test_keypoints_of_hand_made_people(tmp_path: Path) -> None:
    whole, partial, missed = person(1), person(2, (2, 1, 0), left=200), person(3, left=400)
    path = write_people(tmp_path / "people.json", [whole, partial, missed])
    near, far = 6.0, 20.0
    found = [prediction(whole, {1: near}), prediction(partial, {1: far})]
    keypoints = keypoint_breakdown(compare_people(path, found, THREE))["keypoints"]
    similarity = {d: math.exp(-(d**2) / (2 * 0.05) ** 2 / AREA / 2) for d in (near, far)}
    assert similarity[near] > 0.5 > similarity[far]
    assert list(keypoints) == list(THREE.keypoints)
    assert [keypoint["labelled"] for keypoint in keypoints.values()] == [3, 3, 2]
    assert [keypoint["similarity"] for keypoint in keypoints.values()] == pytest.approx(
        [1, (similarity[near] + similarity[far]) / 2, 1]
    )
    assert [keypoint["recall"] for keypoint in keypoints.values()] == pytest.approx([2 / 3, 1 / 3, 1 / 2])


def test_crowds_and_people_without_keypoints_do_not_count(tmp_path: Path) -> None:
    group, nobody = person(2, left=200) | {"iscrowd": 1}, person(3, (0, 0, 0), left=400)
    path = write_people(tmp_path / "people.json", [person(1), group, nobody])
    breakdown = keypoint_breakdown(compare_people(path, [prediction(group, {}), prediction(person(1), {})], THREE))
    assert [keypoint["labelled"] for keypoint in breakdown["keypoints"].values()] == [1, 1, 1]
    assert [keypoint["recall"] for keypoint in breakdown["keypoints"].values()] == [1, 1, 1]
    assert {name: group["people"] for name, group in breakdown["sizes"].items()} == {"medium": 1}


def test_what_is_nowhere_labelled_or_found_is_unknown(tmp_path: Path) -> None:
    path = write_people(tmp_path / "people.json", [person(1, (2, 2, 0))])
    breakdown = keypoint_breakdown(compare_people(path, [], THREE))
    rows = list(breakdown["keypoints"].values())
    assert [row["recall"] for row in rows[:2]] == [0, 0]
    assert breakdown["keypoints"]["right_hand"] == {"labelled": 0, "similarity": None, "recall": None}
    assert json.loads(json.dumps(breakdown, allow_nan=False)) == breakdown


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_groups_have_the_official_numbers(
    skeleton: Skeleton, seed: int, random_people: Callable[..., RandomPeople]
) -> None:
    people = random_people(skeleton, seed)
    breakdown = keypoint_breakdown(people.compare())
    metrics = evaluate_keypoints(people.path, people.predictions, skeleton)
    groups = breakdown["sizes"] if skeleton.area == "annotation" else breakdown["crowding"]
    official = {name.removeprefix("AP_"): value for name, value in metrics.items() if "_" in name}
    assert {name: group["ap"] for name, group in groups.items() if name in official} == pytest.approx(official)
    labelled = [a for a in people.dataset["annotations"] if a["num_keypoints"] and not a["iscrowd"]]
    for part in ("crowding", "sizes"):
        assert sum(group["people"] for group in breakdown[part].values()) == len(labelled)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_who_of_everybody_is_found_is_recall_at_oks_50(
    skeleton: Skeleton, seed: int, random_people: Callable[..., RandomPeople]
) -> None:
    """By the detections of a score alone, too: the others are taken out of the file for that."""
    people = random_people(skeleton, seed)
    for score in (0.0, 0.5):
        everybody = FoundSettings(keypoints=0, height=0.0, score=score)
        found = found_people(people.compare(), everybody, resamples=0)["people"]
        chosen = [each for each in people.predictions if each["score"] >= score]
        assert found is not None
        assert found.value == pytest.approx(evaluate_keypoints(people.path, chosen, skeleton)["AR50"])


def test_people_to_find_are_labelled_and_large_enough(tmp_path: Path) -> None:
    whole, partial, small = person(1), person(2, (2, 1, 0), left=200), person(3, left=400, scale=0.99)
    group = person(4, left=500) | {"iscrowd": 1}
    path = write_people(tmp_path / "people.json", [whole, partial, small, group], height=200)
    found = [prediction(whole, {}, score=0.5), prediction(partial, {}), prediction(small, {}), prediction(group, {})]
    comparison = compare_people(path, found, THREE)
    for settings, expected in (
        (FoundSettings(3, 0.5, 0.5), (1, 1.0)),
        (FoundSettings(3, 0.5, 0.51), (1, 0.0)),
        (FoundSettings(2, 0.5, 0.51), (2, 0.5)),
        (FoundSettings(3, 0.49, 0.51), (2, 0.5)),
    ):
        rate = found_people(comparison, settings)["people"]
        assert rate is not None
        assert (rate.total, rate.value) == expected
    assert found_people(comparison, FoundSettings()) == {"people": None, "people_free": None}


def test_images_without_anybody_count_what_is_found_there(tmp_path: Path) -> None:
    """Crowds and people without keypoints are somebody; a score below the least is nothing, one above is a person."""
    crowd, nobody = person(2) | {"image_id": 2, "iscrowd": 1}, person(3, (0, 0, 0)) | {"image_id": 3}
    path = write_people(tmp_path / "people.json", [person(1), crowd, nobody])
    content = json.loads(path.read_text())
    content["images"] += [
        {**content["images"][0], "id": number, "file_name": f"{number}.jpg"} for number in range(2, 6)
    ]
    write_json(path, content)
    ghosts = [(1, 0.9), (2, 0.9), (3, 0.9), (4, 0.9), (4, 0.2), (4, 0.19)]
    found = [prediction(person(1), {}, score=score) | {"image_id": image} for image, score in ghosts]
    rate = found_people(compare_people(path, found, THREE), FoundSettings())["people_free"]
    assert rate is not None
    assert rate.interval is not None
    assert (rate.total, rate.value) == (2, 1.0)
    assert 0 <= rate.interval.low < 1 < rate.interval.high <= 20
