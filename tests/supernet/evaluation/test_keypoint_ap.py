"""OKS evaluation against the official CrowdPose results and against pycocotools itself."""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import evaluate_keypoints
from litepose_ofa.supernet.evaluation.keypoint_ap import Engine, compare_people, official_metrics, require_comparable
from litepose_ofa.supernet.files import read_json, write_json

Json = dict[str, Any]
RandomPeople = Any


def golden_predictions(annotations: list[Json], *, phase: float, amplitude: float, drop: int) -> list[Json]:
    predictions = []
    for annotation in annotations:
        number = annotation["id"]
        if number % drop == 0:
            continue
        left, top, width, height = annotation["bbox"]
        reach = amplitude * math.sqrt(width * height)
        shifts = [(0.0, 0.13), (0.2 * width, 0.17)] if number % 11 == 0 else [(0.0, 0.13)]
        for shift, frequency in shifts:
            keypoints: list[float] = []
            for i in range(14):
                x, y, v = annotation["keypoints"][3 * i : 3 * i + 3]
                x, y = (x, y) if v > 0 else (left + width / 2, top + height / 2)
                x += reach * math.sin(phase * number + i) + shift
                y += reach * math.cos(phase * number + 2 * i)
                keypoints += [round(x, 2), round(y, 2), 1]
            score = round(0.5 + 0.5 * math.sin(frequency * number), 4)
            predictions.append({"image_id": annotation["image_id"], "category_id": 1, "keypoints": keypoints})
            predictions[-1]["score"] = score
    return predictions


@pytest.fixture
def coco_file(random_people: Callable[..., RandomPeople]) -> Path:
    path: Path = random_people(COCO).path
    return path


@pytest.fixture(params=["pycocotools", "faster-coco-eval"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="the optional package faster-coco-eval is absent")
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("case", [0, 1])
def test_equals_the_official_crowdpose_evaluation(
    case: int, reference_path: Callable[[str], Path], engine: Engine
) -> None:
    path = reference_path("data/crowdpose_val.json")
    golden = read_json(reference_path("golden/crowdpose_eval.json"))["cases"][case]
    expected = golden.pop("expected")
    predictions = golden_predictions(read_json(path)["annotations"], **golden)
    metrics = evaluate_keypoints(path, predictions, "crowdpose", engine=engine)
    assert metrics == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize("chosen", [None, [111, 102, 105, 103]])
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_coco(
    seed: int,
    chosen: list[int] | None,
    random_people: Callable[..., RandomPeople],
    official_evaluation: Callable[..., dict[str, float]],
) -> None:
    people = random_people(COCO, seed)
    metrics = evaluate_keypoints(people.path, people.predictions, image_ids=chosen)
    parameters = {} if chosen is None else {"imgIds": chosen}
    expected = official_evaluation(people.path, people.predictions, **parameters)
    assert metrics == pytest.approx(expected, abs=1e-12)
    assert 0 < metrics["AP"] < 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_engines_agree(skeleton: Skeleton, seed: int, random_people: Callable[..., RandomPeople]) -> None:
    pytest.importorskip("faster_coco_eval", reason="the optional package faster-coco-eval is absent")
    people = random_people(skeleton, seed)
    for predictions in (people.predictions, []):
        for image_ids in (None, [111, 102, 105, 103]):
            comparison = compare_people(people.path, predictions, skeleton, image_ids=image_ids)
            faster = official_metrics(comparison, "faster-coco-eval")
            assert faster == pytest.approx(official_metrics(comparison), abs=1e-6)


def test_an_engine_that_is_absent_is_named(coco_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(InputError, match=r"pip install 'litepose-ofa\[fast-eval\]'"):
        evaluate_keypoints(coco_file, [], engine="faster-coco-eval")
    engine: Any = "matlab"
    with pytest.raises(InputError, match="engine is 'matlab'; it must be one of pycocotools, faster-coco-eval"):
        evaluate_keypoints(coco_file, [], engine=engine)


def set_crowd_indices(dataset: Json, indices: Sequence[float | None]) -> Json:
    for image, index in zip(dataset["images"], itertools.cycle(indices), strict=False):
        image["crowdIndex"] = index
        if index is None:
            del image["crowdIndex"]
    return dataset


@pytest.mark.parametrize(("index", "more"), [(0.5, ["AP_medium"]), (None, [])])
def test_crowding_needs_a_crowd_index_and_nobody_found_scores_zero(
    random_people: Callable[..., RandomPeople], index: float | None, more: list[str]
) -> None:
    people = random_people(CROWDPOSE, change=lambda dataset: set_crowd_indices(dataset, [index]))
    names = ["AP", "AP50", "AP75", "AR", "AR50", "AR75", *more]
    assert evaluate_keypoints(people.path, [], "crowdpose") == dict.fromkeys(names, 0)


def test_crowding_levels_equal_the_evaluation_of_their_images(random_people: Callable[..., RandomPeople]) -> None:
    indices = [0.0, 0.19, 0.2, 0.5, 0.79, 0.8, 1.0]
    people = random_people(CROWDPOSE, change=lambda dataset: set_crowd_indices(dataset, indices))
    metrics = evaluate_keypoints(people.path, people.predictions, CROWDPOSE)
    for level, crowd_indices in {"easy": (0.0, 0.19), "medium": (0.2, 0.5, 0.79), "hard": (0.8, 1.0)}.items():
        chosen = [image["id"] for image in people.dataset["images"] if image["crowdIndex"] in crowd_indices]
        alone = evaluate_keypoints(people.path, people.predictions, CROWDPOSE, image_ids=chosen)
        assert metrics[f"AP_{level}"] == pytest.approx(alone["AP"], abs=1e-12)


def test_images_that_are_not_in_the_file_are_named(coco_file: Path) -> None:
    stranger = {"image_id": 7, "keypoints": [1.0] * 51, "score": 0.5}
    with pytest.raises(InputError, match=r"prediction 0 is of image 7, which .*people.json does not have"):
        evaluate_keypoints(coco_file, [stranger])
    with pytest.raises(InputError, match="no image 5"):
        evaluate_keypoints(coco_file, [], image_ids=[100, 5])
    with pytest.raises(InputError, match="no labelled person in the 0 images"):
        evaluate_keypoints(coco_file, [], image_ids=[])


@pytest.fixture
def load(random_people: Callable[..., RandomPeople]) -> Callable[..., KeypointDataset]:
    """Write random people, changed, and load them with a skeleton."""

    def write_and_load(change: Callable[[Json], object], skeleton: Skeleton = COCO) -> KeypointDataset:
        def change_all(dataset: Json) -> Json:
            for image in dataset["images"]:
                image.update(width=640, height=640)
            for annotation in dataset["annotations"]:
                change(annotation)
            return dataset

        path = random_people(skeleton, change=change_all).path
        return KeypointDataset(
            path, path.parent, skeleton, AnnotatedImages(load_annotations(path, skeleton), path.parent)
        )

    return write_and_load


def to_corners(annotation: Json) -> None:
    """Move a person to the lower right, into the image, and write the box as two corners."""
    left, top, width, height = annotation["bbox"]
    points = [min(value + 300, 640) if place % 3 < 2 else value for place, value in enumerate(annotation["keypoints"])]
    corners = [left + 300, top + 300, min(left + width + 300, 640), min(top + height + 300, 640)]
    annotation.update(keypoints=points, bbox=corners)


def test_boxes_as_corners_matter_where_they_give_the_area(load: Callable[..., KeypointDataset]) -> None:
    for skeleton in (COCO, CROWDPOSE):
        require_comparable(load(lambda annotation: None, skeleton))
    require_comparable(load(to_corners))
    with pytest.raises(InputError, match=r"people\.json: \d+ of \d+ people .*: a box that leaves the image"):
        require_comparable(load(to_corners, dataclasses.replace(COCO, area="box")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda annotation: annotation.update(area=0), "an area that nobody in such a box"),
        (lambda annotation: annotation.pop("area"), "annotation 1 lacks the key 'area'"),
        (lambda annotation: annotation.update(iscrowd=1), "no labelled person in the 12 images to evaluate"),
        (lambda annotation: annotation.update(num_keypoints=0), "no labelled person in the 12 images to evaluate"),
    ],
)
def test_what_gives_no_ap_is_told_at_once(
    load: Callable[..., KeypointDataset], change: Callable[[Json], object], told: str
) -> None:
    with pytest.raises(InputError, match=f"people.json: .*{told}"):
        require_comparable(load(change))


def test_a_box_of_negative_width_is_like_nobody(random_people: Callable[..., RandomPeople]) -> None:
    def narrow(dataset: Json) -> Json:
        for annotation in dataset["annotations"][::3]:
            annotation["bbox"][2] = -5
        return dataset

    comparison = random_people(CROWDPOSE, change=narrow).compare()
    assert (comparison.areas[::3] == 0).all()
    assert np.count_nonzero(comparison.areas) == len(comparison.areas) * 2 // 3
    assert max(comparison.oks(image).max(initial=0) for image in range(len(comparison.images))) <= 1


def by_name(keypoints: list[float], skeleton: Skeleton, other: Skeleton) -> list[float]:
    """A person's keypoints in another skeleton's order, zeros where the person's has none of that name."""
    known = dict(zip(skeleton.keypoints, np.reshape(keypoints, (-1, 3)).tolist(), strict=True))
    values: list[float] = np.ravel([known.get(name, [0.0] * 3) for name in other.keypoints]).tolist()
    return values


@pytest.mark.parametrize("seed", range(3))
def test_keypoints_of_another_skeleton_are_compared_by_name(
    seed: int, random_people: Callable[..., RandomPeople], official_evaluation: Callable[..., dict[str, float]]
) -> None:
    """COCO's own evaluation takes a file in which the face is not labelled."""

    def labelled(dataset: Json) -> Json:
        return {**dataset, "annotations": [each for each in dataset["annotations"] if each["num_keypoints"]]}

    backwards = Skeleton("backwards", CROWDPOSE.keypoints[::-1], (), CROWDPOSE.sigmas, "box")
    people = random_people(COCO, seed, change=labelled)
    found = [{**each, "keypoints": by_name(each["keypoints"], COCO, backwards)} for each in people.predictions]
    comparison = compare_people(people.path, found, COCO, predicted=backwards)
    assert comparison.skeleton.keypoints == COCO.keypoints[5:]
    shared = [{**each, "keypoints": by_name(each["keypoints"], backwards, COCO)} for each in found]
    for person in people.dataset["annotations"]:
        person["keypoints"][:15] = [0.0] * 15
        person["num_keypoints"] = int(np.count_nonzero(person["keypoints"][2::3]))
    write_json(people.path.with_name("faceless.json"), people.dataset)
    expected = official_evaluation(people.path.with_name("faceless.json"), shared)
    assert official_metrics(comparison) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected["AP"] < 1


def test_people_without_a_shared_keypoint_need_not_be_found(tmp_path: Path) -> None:
    """As in COCO those without keypoints: a detection on them is not wrong either."""
    rng = np.random.default_rng(0)
    content: Json = {"images": [{"id": 1, "file_name": "1.jpg", "width": 640, "height": 480}], "annotations": []}
    for number, (left, shown) in enumerate([(0, slice(17)), (300, slice(5))], start=1):
        keypoints = np.zeros((17, 3))
        keypoints[shown] = np.column_stack([left + rng.uniform(20, 80, 17), rng.uniform(20, 80, 17), [2] * 17])[shown]
        person = {"id": number, "image_id": 1, "category_id": 1, "bbox": [left, 0, 100, 100], "area": 5000.0}
        content["annotations"].append({**person, "keypoints": keypoints.ravel().tolist(), "iscrowd": 0})
        content["annotations"][-1]["num_keypoints"] = int(np.count_nonzero(keypoints[:, 2]))
    write_json(tmp_path / "people.json", content)
    whole = by_name(content["annotations"][0]["keypoints"], COCO, CROWDPOSE)
    on_the_face = np.add(np.reshape(whole, (14, 3)), [300, 0, 0]).ravel().tolist()
    found = [{"image_id": 1, "keypoints": on_the_face, "score": 0.9}, {"image_id": 1, "keypoints": whole, "score": 0.5}]
    comparison = compare_people(tmp_path / "people.json", found, COCO, predicted=CROWDPOSE)
    assert comparison.labelled.sum() == 1
    metrics = official_metrics(comparison)
    assert (metrics["AP"], metrics["AR"]) == pytest.approx((1, 1))


def test_nobody_is_compared_only_if_allowed(tmp_path: Path) -> None:
    write_json(
        tmp_path / "people.json",
        {"images": [{"id": 1, "file_name": "1.jpg", "width": 640, "height": 480}], "annotations": []},
    )
    with pytest.raises(InputError, match="no labelled person in the 1 images to evaluate"):
        compare_people(tmp_path / "people.json", [], COCO)
    assert official_metrics(compare_people(tmp_path / "people.json", [], COCO, allow_nobody=True)) == {}
