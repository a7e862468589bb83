"""OKS evaluation against the official CrowdPose results and against pycocotools itself."""

import contextlib
import copy
import dataclasses
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import COCO as COCO_SKELETON
from litepose_ofa.supernet.data.skeletons import CROWDPOSE, SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import evaluate_keypoints
from litepose_ofa.supernet.evaluation.keypoint_ap import Engine, compare_people, require_comparable
from litepose_ofa.supernet.files import read_json, write_json

Json = dict[str, Any]
MakeDataset = Callable[..., Json]
MakePredictions = Callable[..., list[Json]]


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


def plain_pycocotools(dataset: Json, predictions: list[Json], image_ids: list[int] | None = None) -> dict[str, float]:
    """COCO's own numbers, by its own functions."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(predictions)), "keypoints")
        if image_ids is not None:
            evaluation.params.imgIds = image_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "AP_medium", "AP_large", "AR", "AR50", "AR75")
    return dict(zip(names, evaluation.stats.tolist(), strict=False))


@pytest.fixture
def coco_file(tmp_path: Path, make_dataset: MakeDataset) -> Path:
    path = tmp_path / "coco.json"
    write_json(path, make_dataset(COCO_SKELETON))
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
    tmp_path: Path,
    make_dataset: MakeDataset,
    noisy_predictions: MakePredictions,
) -> None:
    dataset = make_dataset(COCO_SKELETON, seed=seed)
    predictions = noisy_predictions(dataset, seed + 10)
    write_json(tmp_path / "coco.json", dataset)
    metrics = evaluate_keypoints(tmp_path / "coco.json", predictions, image_ids=chosen)
    assert metrics == pytest.approx(plain_pycocotools(dataset, predictions, chosen), abs=1e-12)
    assert 0 < metrics["AP"] < 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_engines_agree(
    skeleton: Skeleton, seed: int, tmp_path: Path, make_dataset: MakeDataset, noisy_predictions: MakePredictions
) -> None:
    pytest.importorskip("faster_coco_eval", reason="the optional package faster-coco-eval is absent")
    dataset = make_dataset(skeleton, seed=seed)
    write_json(tmp_path / "people.json", dataset)
    engines: tuple[Engine, ...] = ("pycocotools", "faster-coco-eval")
    for predictions in (noisy_predictions(dataset, seed + 10), []):
        for image_ids in (None, [111, 102, 105, 103]):
            official, faster = (
                evaluate_keypoints(tmp_path / "people.json", predictions, skeleton, image_ids=image_ids, engine=engine)
                for engine in engines
            )
            assert faster == pytest.approx(official, abs=1e-6)


def test_an_engine_that_is_absent_is_named(coco_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(InputError, match=r"pip install 'litepose-ofa\[fast-eval\]'"):
        evaluate_keypoints(coco_file, [], engine="faster-coco-eval")
    engine: Any = "matlab"
    with pytest.raises(InputError, match="engine is 'matlab'; it must be one of pycocotools, faster-coco-eval"):
        evaluate_keypoints(coco_file, [], engine=engine)


def test_crowding_needs_a_crowd_index_and_nobody_found_scores_zero(tmp_path: Path, make_dataset: MakeDataset) -> None:
    names = ["AP", "AP50", "AP75", "AR", "AR50", "AR75"]
    for crowd_index, more in ((True, ["AP_easy", "AP_medium", "AP_hard"]), (False, [])):
        path = tmp_path / f"{crowd_index}.json"
        write_json(path, make_dataset(CROWDPOSE, crowd_index=crowd_index))
        assert evaluate_keypoints(path, [], "crowdpose") == dict.fromkeys(names + more, 0)


def test_crowding_levels_equal_the_evaluation_of_their_images(
    tmp_path: Path, make_dataset: MakeDataset, noisy_predictions: MakePredictions
) -> None:
    dataset = make_dataset(CROWDPOSE)
    for image, crowd_index in zip(dataset["images"], [0.0, 0.19, 0.2, 0.5, 0.79, 0.8, 1.0] * 2, strict=False):
        image["crowdIndex"] = crowd_index
    path = tmp_path / "crowdpose.json"
    write_json(path, dataset)
    predictions = noisy_predictions(dataset)
    metrics = evaluate_keypoints(path, predictions, CROWDPOSE)
    for level, crowd_indices in {"easy": (0.0, 0.19), "medium": (0.2, 0.5, 0.79), "hard": (0.8, 1.0)}.items():
        chosen = [image["id"] for image in dataset["images"] if image["crowdIndex"] in crowd_indices]
        alone = evaluate_keypoints(path, predictions, CROWDPOSE, image_ids=chosen)
        assert metrics[f"AP_{level}"] == pytest.approx(alone["AP"], abs=1e-12)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_id": 7}, "prediction 1 is of image 7, which .*coco.json does not have"),
        ({"image_id": None}, "prediction 1 is of image None; it must be an integer"),
        ({"keypoints": [1.0] * 42}, "prediction 1: 'keypoints' must be 51 finite numbers"),
        ({"keypoints": "left"}, "prediction 1: 'keypoints' must be 51 finite numbers"),
        ({"score": None}, "prediction 1: 'score' must be 1 finite number"),
    ],
)
def test_bad_predictions_are_named(coco_file: Path, change: Json, named: str) -> None:
    good = {"image_id": 100, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}
    with pytest.raises(InputError, match=named):
        evaluate_keypoints(coco_file, [good, good | change])


def test_bad_files_and_choices_are_named(coco_file: Path, tmp_path: Path, make_dataset: MakeDataset) -> None:
    with pytest.raises(InputError, match=r"absent\.json"):
        evaluate_keypoints(tmp_path / "absent.json", [])
    with pytest.raises(InputError, match="unknown skeleton 'hands'"):
        evaluate_keypoints(coco_file, [], "hands")
    with pytest.raises(InputError, match="coco"):
        evaluate_keypoints(coco_file, [], "crowdpose")
    with pytest.raises(InputError, match="no image 5"):
        evaluate_keypoints(coco_file, [], image_ids=[100, 5])
    with pytest.raises(InputError, match="no labelled person in the 0 images"):
        evaluate_keypoints(coco_file, [], image_ids=[])
    dataset = make_dataset(COCO_SKELETON)
    del dataset["annotations"][0]["area"]
    (tmp_path / "no_area.json").write_text(json.dumps(dataset), encoding="utf-8")
    with pytest.raises(InputError, match="annotation 1 lacks the key 'area'"):
        evaluate_keypoints(tmp_path / "no_area.json", [])


PEOPLE_BY_BOX = dataclasses.replace(COCO_SKELETON, area="box")


@pytest.fixture
def load(tmp_path: Path, make_dataset: Callable[..., Json]) -> Callable[..., KeypointDataset]:
    """Write random people, changed, and load them with a skeleton."""

    def write_and_load(change: Callable[[Json], object], skeleton: Any = COCO_SKELETON) -> KeypointDataset:
        content = make_dataset(skeleton)
        for image in content["images"]:
            image.update(width=640, height=640)
        for annotation in content["annotations"]:
            change(annotation)
        path = tmp_path / "people.json"
        write_json(path, content)
        return KeypointDataset(path, tmp_path, skeleton, AnnotatedImages(load_annotations(path, skeleton), tmp_path))

    return write_and_load


def to_corners(annotation: Json) -> None:
    """Move a person to the lower right, into the image, and write the box as two corners."""
    left, top, width, height = annotation["bbox"]
    points = [min(value + 300, 640) if place % 3 < 2 else value for place, value in enumerate(annotation["keypoints"])]
    corners = [left + 300, top + 300, min(left + width + 300, 640), min(top + height + 300, 640)]
    annotation.update(keypoints=points, bbox=corners)


@pytest.mark.parametrize("skeleton", [COCO_SKELETON, CROWDPOSE])
def test_good_people_are_comparable(load: Callable[..., KeypointDataset], skeleton: Any) -> None:
    require_comparable(load(lambda annotation: None, skeleton))


def test_boxes_as_corners_matter_where_they_give_the_area(load: Callable[..., KeypointDataset]) -> None:
    require_comparable(load(to_corners))
    with pytest.raises(InputError, match=r"people\.json: \d+ of \d+ people .*: a box that leaves the image"):
        require_comparable(load(to_corners, PEOPLE_BY_BOX))


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


def test_a_box_of_negative_width_is_like_nobody(
    load: Callable[..., KeypointDataset], noisy_predictions: Callable[..., list[Json]]
) -> None:
    dataset = load(
        lambda annotation: annotation["bbox"].__setitem__(2, -5) if annotation["id"] % 3 == 0 else None, CROWDPOSE
    )
    people = read_json(dataset.annotations_path)
    comparison = compare_people(dataset.annotations_path, noisy_predictions(people), CROWDPOSE)
    unmatched = comparison.truth.ids % 3 == 0
    assert (comparison.areas[unmatched] == 0).all()
    assert (comparison.areas[~unmatched] > 0).all()
    assert max(comparison.oks(image).max(initial=0) for image in range(len(comparison.images))) <= 1
