"""PCK: hand-made people at the edge of the threshold, every pairing tried, and the real sets' own labels."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import FoundSettings, compare_people, found_people, measure_pck
from litepose_ofa.supernet.evaluation.matching import PeopleComparison
from litepose_ofa.supernet.files import read_json, write_json

Json = dict[str, Any]

NAMES = ("head", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
FIVE = Skeleton(name="five", keypoints=NAMES, limbs=(), sigmas=(0.08,) * 5, area="annotation")
POINTS = np.array([[15.0, 0.0], [30.0, 10.0], [0.0, 10.0], [33.0, 60.0], [0.0, 50.0]])
"""Left shoulder to right hip are 50 pixels, so that 10 are the threshold; the other diagonal is longer."""
ALL = (2,) * 5


def person(visibility: tuple[int, ...] = ALL, at: float = 100.0, image: int = 1, **more: Any) -> Json:
    keypoints = np.column_stack([POINTS + at, visibility]) * (np.array(visibility) > 0)[:, None]
    known = {"image_id": image, "category_id": 1, "bbox": [at, at, 33, 60], "area": 2000.0, "iscrowd": 0}
    return {
        **known,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(visibility)),
        **more,
    }


def detection(moved: dict[str, float], at: float = 100.0, image: int = 1, score: float = 0.9) -> Json:
    """Everything where ``person`` has it, except that some keypoints are so many pixels to the right."""
    keypoints = np.column_stack([POINTS + at, np.full(5, 0.5)])
    for name, pixels in moved.items():
        keypoints[NAMES.index(name), 0] += pixels
    return {"image_id": image, "keypoints": keypoints.ravel().tolist(), "score": score}


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., PeopleComparison]:
    def compare(people: list[Json], found: list[Json]) -> PeopleComparison:
        annotations = [{"id": number, **each} for number, each in enumerate(people, start=1)]
        images = [{"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 480} for number in (1, 2, 3)]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
        write_json(tmp_path / "people.json", content)
        return compare_people(tmp_path / "people.json", found, FIVE)

    return compare


def test_a_fifth_of_the_torso_is_near_enough_and_more_is_not(compare: Any) -> None:
    pck = measure_pck(compare([person()], [detection({"head": 10.0, "left_hip": -10.01, "right_hip": 10.5})]))
    rates = {name: rate.value for name, rate in pck.keypoints.items()}
    assert rates == {"head": 1, "left_shoulder": 1, "right_shoulder": 1, "left_hip": 0, "right_hip": 0}
    assert (pck.all.value, pck.all.total, pck.people, pck.without_torso) == (0.6, 5, 1, 0)


def test_without_its_first_diagonal_a_torso_is_the_other_and_without_either_nobody_counts(compare: Any) -> None:
    other = float(np.hypot(33, 50)) / 5  # 11.98 pixels
    found = [detection({"head": 11.9}, image=image) for image in (1, 2)]
    alone = person((2, 2, 2, 2, 0))
    pck = measure_pck(compare([alone, person((2, 2, 2, 0, 0), image=2)], found))
    assert (pck.people, pck.without_torso) == (1, 1)
    assert (pck.all.value, pck.all.total) == (1, 4)
    assert pck.keypoints["right_hip"] is None
    assert measure_pck(compare([alone], [detection({"head": other + 0.1})])).keypoints["head"].value == 0
    with pytest.raises(InputError, match="nobody has a shoulder and the hip of the other side labelled"):
        measure_pck(compare([person((2, 2, 0, 2, 0))], found[:1]))


def test_what_is_not_found_is_wrong(compare: Any) -> None:
    """A person without a detection; a keypoint that the detection lacks, though its place would be right."""
    lacking = detection({})
    lacking["keypoints"][2] = 0
    people = [person(), person(image=2), person(image=3, at=200), person(at=300, iscrowd=1), person((0,) * 5, at=400)]
    pck = measure_pck(compare(people, [lacking, detection({}, image=3)]))
    assert pck.people == 3
    assert pck.all.value == pytest.approx(4 / 15)
    assert pck.keypoints["head"].value == 0


def test_the_nearest_detection_is_taken_whatever_its_score_and_serves_one_person(compare: Any) -> None:
    somebody_else = detection({}, at=300, score=0.9)
    assert measure_pck(compare([person()], [somebody_else, detection({}, score=0.1)])).all.value == 1
    assert measure_pck(compare([person(), person(at=104)], [detection({})])).all.value == 0.5


def test_what_is_not_labelled_takes_part_in_nothing(compare: Any) -> None:
    """A keypoint, though its zeros are near the detection; a person without any, whose box holds the detection."""
    pck = measure_pck(compare([person((2, 2, 0, 2, 2), at=0)], [detection({}, at=0)]))
    assert (pck.all.value, pck.all.total) == (1, 4)
    pck = measure_pck(compare([person((0,) * 5), person(at=104)], [detection({})]))
    assert (pck.all.value, pck.people, pck.without_torso) == (1, 1, 0)


@pytest.mark.parametrize("seed", range(20))
def test_pairs_have_the_greatest_sum_of_oks(compare: Any, seed: int) -> None:
    """Against every way to pair them, with OKS and distances written out."""
    rng = np.random.default_rng(seed)
    people = [person((*rng.integers(0, 3, 4).tolist(), 2), at=float(rng.uniform(100, 130))) for _ in range(3)]
    people.append(person(at=110))
    found = [detection({n: rng.normal(0, 10) for n in NAMES}, at=float(rng.uniform(100, 130))) for _ in range(3)]
    truth, seen = (np.array([each["keypoints"] for each in several]).reshape(-1, 5, 3) for several in (people, found))
    labelled = truth[:, :, 2] > 0
    distances = np.linalg.norm(seen[:, None, :, :2] - truth[None, :, :, :2], axis=-1)
    oks = (np.exp(-(distances**2) / (2 * 2000 * 0.16**2)) * labelled).sum(axis=2) / labelled.sum(axis=1)
    best = max(itertools.permutations(range(4), 3), key=lambda order: sum(oks[row, of] for row, of in enumerate(order)))
    correct = total = 0
    for index in range(4):
        if labelled[index, [1, 4]].all() or labelled[index, [2, 3]].all():
            torso = 50 if labelled[index, [1, 4]].all() else np.hypot(33, 50)
            total += labelled[index].sum()
            if index in best:
                correct += (labelled[index] & (distances[best.index(index), index] <= 0.2 * torso)).sum()
    pck = measure_pck(compare(people, found)).all
    assert (pck.total, round(pck.value * pck.total)) == (total, correct)


def test_intervals_are_over_images(compare: Any) -> None:
    """Images alike have no interval; of one right and one wrong, it is wide; without draws there is none."""
    people = [person(image=image) for image in (1, 2)]
    for images, wide in (((1, 2), False), ((1,), True)):
        pck = measure_pck(compare(people, [detection({}, image=image) for image in images]), resamples=100)
        for rate in (pck.all, pck.keypoints["head"]):
            assert (rate.interval.high - rate.interval.low > 0.5) == wide
    assert measure_pck(compare(people, []), resamples=0).all.interval is None


def test_a_skeleton_without_a_torso_has_no_pck(tmp_path: Path) -> None:
    headed = Skeleton(name="headed", keypoints=NAMES[:4], limbs=(), sigmas=(0.1,) * 4, area="box")
    images = [{"id": 1, "file_name": "1.jpg", "width": 640, "height": 480}]
    keypoints = np.column_stack([POINTS[:4], np.full(4, 2)]).ravel().tolist()
    people = [{"id": 1, "image_id": 1, "bbox": [0, 0, 40, 60], "keypoints": keypoints}]
    write_json(tmp_path / "people.json", {"images": images, "annotations": people})
    with pytest.raises(InputError, match="the skeleton headed has no right_hip"):
        measure_pck(compare_people(tmp_path / "people.json", [], headed))


def perfect(path: Path, skeleton: Skeleton, predicted: Skeleton) -> PeopleComparison:
    """The labelled people of a file, predicted where they are by a network of another skeleton."""
    found = []
    for person in read_json(path)["annotations"]:
        keypoints = dict(zip(skeleton.keypoints, np.reshape(person["keypoints"], (-1, 3)).tolist(), strict=True))
        values = np.ravel([keypoints.get(name, [0.0, 0.0, 0.0]) for name in predicted.keypoints]).tolist()
        if person["num_keypoints"]:
            found.append({"image_id": person["image_id"], "keypoints": values, "score": 0.9})
    return compare_people(path, found, skeleton, predicted=predicted)


def test_photographs_of_lspet(reference_path: Callable[[str], Path]) -> None:
    path = reference_path("data/lspet/annotations/person_keypoints_val.json")
    pck = measure_pck(perfect(path, CROWDPOSE, CROWDPOSE), resamples=0)
    assert (pck.people, pck.without_torso, pck.all.total, pck.all.value) == (834, 166, 10737, 1)


def test_photographs_of_coco(reference_path: Callable[[str], Path]) -> None:
    path = reference_path("data/coco_real/annotations/person_keypoints_train.json")
    comparison = perfect(path, COCO, CROWDPOSE)
    pck, found = measure_pck(comparison, resamples=0), found_people(comparison, FoundSettings(), resamples=0)
    assert (pck.people, pck.without_torso, pck.all.value, len(pck.keypoints)) == (194, 114, 1, 12)
    people, people_free = found["people"], found["people_free"]
    assert people is not None
    assert people_free is not None
    assert (people.total, people.value, people_free.total, people_free.value) == (113, 1, 121, 0)
