"""Pictures in, drawn people and COCO files out: by every kind of model, again and again, whatever the folder holds."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from scripts.cli import CONFIG_DIR
from scripts.pose_models import open_pose_network
from scripts.prediction_jobs import Options
from supernet.arch import Arch
from supernet.checkpoints import load_subnet, load_supernet, save_subnet
from supernet.data.coco import KeypointDataset
from supernet.data.skeletons import CROWDPOSE
from supernet.errors import InputError
from supernet.evaluation import InferenceSettings
from supernet.evaluation.subnets import Calibration
from supernet.export.bundle import write_bundle
from supernet.extract import extract_subnet
from supernet.files import read_json

RunScript = Callable[..., Any]
Array = npt.NDArray[Any]

ALL_PEAKS = ("threads=1", "inference.threshold=0", "inference.max_people=5", "min_score=-1")
"""Six steps of training leave no sure people, but peaks."""

SIDE = 96


@pytest.fixture(scope="module")
def exported(_trained: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export folder of the trained supernet's smallest subnet, BN recalibrated; to be read only."""
    supernet = load_supernet(_trained / "supernet" / "supernet.safetensors")
    root = data_root / "people"
    dataset = KeypointDataset.load(root / "annotations" / "train.json", root / "images" / "train", CROWDPOSE)
    subnet = extract_subnet(supernet, supernet.space.smallest())
    Calibration(dataset, num_images=4, batch_size=2).apply(subnet)
    folder = tmp_path_factory.mktemp("export") / "m"
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    write_bundle(folder, subnet, skeleton=CROWDPOSE, images=images, facts={})
    return folder


@pytest.fixture
def pictures(data_root: Path, tmp_path: Path) -> Path:
    """A folder of four pictures."""
    return Path(shutil.copytree(data_root / "people" / "images" / "val", tmp_path / "pictures"))


@pytest.fixture
def predict(run_script: RunScript, exported: Path, pictures: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run the script on the pictures with the export folder; later overrides win."""

    def run(*overrides: str) -> Any:
        given = (f"input={pictures}", f"model={exported}", f"output={tmp_path / 'out'}")
        return run_script("predict_images", *given, *ALL_PEAKS, *overrides)

    return run


@pytest.fixture(scope="module")
def config() -> DictConfig:
    """The config without input and model, on one thread."""
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("predict_images", ["threads=1"])


def complaint(outcome: Any) -> str:
    """The one line that a script refuses bad input with."""
    assert outcome.status == 2, outcome.stderr
    assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
    return str(outcome.stderr)


def finished(outcome: Any) -> str:
    assert outcome.status == 0, outcome.stderr
    return str(outcome.stdout)


def people_of(folder: Path) -> list[tuple[Array, Array]]:
    """Keypoints and scores of every picture, by image id."""
    results, images = read_json(folder / "predictions.json"), read_json(folder / "images.json")["images"]
    found = []
    for image in images:
        people = [person for person in results if person["image_id"] == image["id"]]
        keypoints = np.array([person["keypoints"] for person in people]).reshape(-1, 14, 3)
        found.append((keypoints, np.array([person["score"] for person in people])))
    return found


def test_a_folder_becomes_drawn_pictures_and_coco_files(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    (pictures / "sub").mkdir()
    (pictures / "000001.jpg").rename(pictures / "sub" / "001.png")
    printed = finished(predict("sheet=3"))
    out = tmp_path / "out"
    names = ["000002.jpg", "000003.jpg", "000004.jpg", "sub/001.png"]
    images = read_json(out / "images.json")["images"]
    assert images == [
        {"id": index, "file_name": name, "width": SIDE, "height": SIDE} for index, name in enumerate(names, start=1)
    ]
    found = people_of(out)
    assert sum(len(people) for people, _ in found) > 0
    for name, (people, scores) in zip(names, found, strict=True):
        source, drawn = cv2.imread(str(pictures / name)), cv2.imread(str(out / "pictures" / name))
        assert source.shape == drawn.shape
        assert (np.abs(source.astype(int) - drawn) > 60).any() == (len(people) > 0)
        assert (np.diff(scores) <= 0).all()
    line = rf"predictions\.json: 4 pictures, {sum(len(people) for people, _ in found)} people of score -1 and above; "
    assert re.search(line + r"network [\d.]+ ms, decoding [\d.]+ ms a picture, [\d.]+ pictures/s", printed)
    assert cv2.imread(str(out / "sheet.png")).shape[1] == 3 * 240 + 2 * 4
    record = read_json(out / "run.json")
    assert record["config"]["skeleton"] == "crowdpose"
    assert not list(out.rglob(".*.tmp"))


def test_folder_safetensors_onnx_and_bare_weights_find_the_same_people(
    predict: Callable[..., Any], exported: Path, tmp_path: Path
) -> None:
    subnet = load_subnet(exported / "weights.safetensors")
    save_subnet(tmp_path / "alone.safetensors", subnet)
    torch.save({"state_dict": subnet.state_dict()}, tmp_path / "weights.pth")
    subnet.arch.save(tmp_path / "arch.yaml")
    kinds = {
        "folder": (),
        "safetensors": (f"model={exported / 'weights.safetensors'}",),
        "alone": (f"model={tmp_path / 'alone.safetensors'}",),
        "onnx": (f"model={exported / 'model.onnx'}", "batch_size=2"),
        "pth": (f"model={tmp_path / 'weights.pth'}", f"arch={tmp_path / 'arch.yaml'}", "dataset=crowdpose"),
    }
    found = {}
    for kind, overrides in kinds.items():
        finished(predict(*overrides, f"output={tmp_path / kind}"))
        found[kind] = people_of(tmp_path / kind)
    assert sum(len(people) for people, _ in found["folder"]) >= 4
    for kind, others in found.items():
        same = []
        for (people, scores), (other, other_scores) in zip(found["folder"], others, strict=True):
            np.testing.assert_allclose(scores, other_scores, atol=1e-4)
            same.append((np.abs(people - other) < 0.01).all(axis=2).ravel())
        assert np.concatenate(same).mean() > (0.9 if kind == "onnx" else 0.999), kind


def test_a_subnet_of_a_supernet_is_cut_out_and_recalibrated(
    predict: Callable[..., Any], trained: Path, quick_evaluation: tuple[str, ...], exported: Path, tmp_path: Path
) -> None:
    supernet = f"model={trained / 'supernet' / 'supernet.safetensors'}"
    assert "is a supernet; say which subnet: arch=smallest" in complaint(predict(supernet))
    assert "space" in complaint(predict(supernet, "arch=smallest", "space=litepose"))
    finished(predict(supernet, "arch=smallest", *quick_evaluation, f"output={tmp_path / 'cut'}"))
    finished(predict())
    digests = [read_json(tmp_path / name / "run.json")["config"]["model"] for name in ("cut", "out")]
    assert digests[0] == digests[1], "the same network by another way"


def test_a_single_picture_of_another_shape(predict: Callable[..., Any], exported: Path, tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    assert cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (70, 201, 3), np.uint8))
    for kind, model in (("torch", exported), ("onnx", exported / "model.onnx")):
        out = tmp_path / kind
        finished(predict(f"input={picture}", f"model={model}", f"output={out}"))
        assert cv2.imread(str(out / "pictures" / "one.png")).shape == (70, 201, 3)
        ((people, _),) = people_of(out)
        assert len(people) > 0
        joints = people[people[..., 2] > 0]
        assert joints[:, 0].max() > 100
        assert (np.abs(joints[:, :2] - (100.5, 35)).max(axis=0) <= (130, 101)).all(), "in the input, its padding too"


def test_what_is_done_is_not_done_again(predict: Callable[..., Any], pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished(predict())
    before = {path: path.stat().st_mtime_ns for path in (out / "pictures").iterdir()}
    results = (out / "predictions.json").read_bytes()
    assert "already done: 4 pictures" in finished(predict())
    assert {path: path.stat().st_mtime_ns for path in (out / "pictures").iterdir()} == before

    log = out / "predictions.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    (out / "predictions.json").unlink()
    assert "4 pictures (2 of them before), " in finished(predict())
    assert (out / "predictions.json").read_bytes() == results, "interrupted or not"

    (pictures / "000001.jpg").unlink()
    shutil.copy(pictures / "000003.jpg", pictures / "000002.jpg")
    (out / "pictures" / "000004.jpg").unlink()
    assert "3 pictures (1 of them before), " in finished(predict()), "the changed and the undrawn one again"
    found = dict(
        zip([image["file_name"] for image in read_json(out / "images.json")["images"]], people_of(out), strict=True)
    )
    np.testing.assert_allclose(found["000002.jpg"][1], found["000003.jpg"][1], atol=1e-5)


def test_other_settings_or_another_model_are_refused(
    predict: Callable[..., Any], exported: Path, tmp_path: Path
) -> None:
    finished(predict())
    results = (tmp_path / "out" / "predictions.jsonl").read_bytes()
    for override, told in (
        ("inference.flip_test=true", "inference.flip_test was False, is True"),
        ("min_score=0.9", "min_score was -1, is 0.9"),
        (f"model={exported / 'model.onnx'}", "model was '"),
        (f"input={exported.parent}", "holds no pictures"),
    ):
        assert told in complaint(predict(override))
    finished(predict("batch_size=1"))
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == results


def test_pictures_that_cannot_be_read_are_named_counted_and_skipped(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    (pictures / "000002.jpg").write_bytes(b"nothing")
    assert cv2.imwrite(str(pictures / "strip.png"), np.zeros((2, 100, 3), np.uint8))
    assert cv2.imwrite(str(pictures / "huge.png"), np.zeros((1500, 1000, 3), np.uint8))
    assert cv2.imwrite(str(pictures / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    printed = finished(predict("max_megapixels=1"))
    for name, reason in (
        ("000002.jpg", "does not decode"),
        ("strip.png", "a side may be at most 8 times the other"),
        ("huge.png", "at most 1 megapixels"),
    ):
        assert re.search(rf"skipped .*/{name}: .*{reason}", printed)
    assert "4 pictures, " in printed
    assert ", 3 skipped" in printed
    assert len(read_json(tmp_path / "out" / "images.json")["images"]) == 4
    assert "already done: 4 pictures" in (printed := finished(predict("max_megapixels=1")))
    assert ", 3 skipped" in printed
    line = complaint(predict("on_bad_image=error", f"output={tmp_path / 'strict'}"))
    assert "000002.jpg: does not decode" in line


def test_a_folder_of_bad_pictures_alone_is_refused_and_binds_nothing(
    predict: Callable[..., Any], tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.jpg").touch()
    assert "not one of 1 pictures can be read" in complaint(predict(f"input={bad}"))
    finished(predict("inference.max_people=3"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("input={tmp}/none", "none: no such file or folder"),
        ("input={tmp}/empty", "empty: holds no pictures; they end in .jpg"),
        ("input={tmp}/notes.txt", "notes.txt: is no picture"),
        ("input={tmp}/none.mp4", "none.mp4: no such file"),
        ("output={tmp}/pictures/out", "it must be outside of the input"),
        ("output={tmp}/pictures", "it must be outside of the input"),
        ("output={tmp}", "it must be outside of the input"),
        ("output={tmp} input={tmp}/clip.mp4", "it must be another folder than the video's"),
        ("model={tmp}/none", "none: no such file or folder"),
        ("inference.threshold=low", "inference.threshold is 'low'; it must be a number"),
        ("batch_size=0", "batch_size is 0"),
    ],
)
def test_a_bad_question_is_one_line(predict: Callable[..., Any], tmp_path: Path, override: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    assert told in complaint(predict(*override.format(tmp=tmp_path).split()))
    assert not list(tmp_path.rglob("predictions.json*"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be an integer of at least 1"),
        ({"min_score": "high"}, "min_score is 'high'; it must be a number"),
        ({"sheet": -1}, "sheet is -1; it must be an integer of at least 0"),
        ({"on_bad_image": "ask"}, "on_bad_image is 'ask'; it must be 'error' or 'skip'"),
        ({"max_megapixels": 1000}, "max_megapixels is 1000; it must be a number above 0, to 130"),
        ({"max_megapixels": True}, "max_megapixels is True"),
    ],
)
def test_a_bad_option_is_named(config: DictConfig, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        Options.from_config(OmegaConf.merge(config, changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "empty"}, "empty: is no export folder: it has no subnet.yaml"),
        ({"model": "notes.txt"}, "notes.txt: holds weights alone; give arch="),
        ({"model": "alone.onnx"}, "subnet.yaml: no such file"),
        ({"model": "broken.safetensors"}, "broken.safetensors: is damaged"),
        (
            {"model": "subnet.safetensors", "dataset": {"skeleton": "coco"}},
            "14 keypoints; dataset.skeleton coco has 17",
        ),
        ({"model": "weights.pth"}, "holds weights alone; give arch="),
        (
            {"model": "weights.pth", "arch": "arch.json", "dataset": {"skeleton": "coco"}},
            "with the 17 keypoints of dataset.skeleton coco",
        ),
        ({"model": "weights.pth", "arch": "other.json"}, "does not fit the model"),
        ({"model": "m", "arch": "smallest"}, "arch is 'smallest'; it must be null"),
        ({"model": "m/model.onnx", "arch": "smallest"}, "arch is 'smallest'; it must be null"),
        ({"model": "m", "image_size": 100}, "image_size is 100; it must be a positive multiple of 16"),
        ({"model": "m", "image_size": "big"}, "image_size is 'big'; it must be an integer or null"),
        ({"model": "m/model.onnx", "image_size": 128}, "takes 96 alone"),
    ],
)
def test_a_model_that_does_not_fit_is_named(
    config: DictConfig,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("m").symlink_to(exported)
    for name in ("notes.txt", "alone.onnx", "broken.safetensors"):
        Path(name).write_text("nothing")
    subnet = load_subnet(exported / "weights.safetensors")
    save_subnet("subnet.safetensors", subnet)
    torch.save(subnet.state_dict(), "weights.pth")
    subnet.arch.save("arch.json")
    Arch.from_dict({**subnet.arch.to_dict(), "input_channel": 2 * subnet.arch.stem_channels}).save("other.json")
    with pytest.raises(InputError, match=re.escape(told)):
        open_pose_network(OmegaConf.merge(config, changed), InferenceSettings())  # type: ignore[arg-type]


def test_what_is_missing_is_named(run_script: RunScript, tmp_path: Path) -> None:
    picture = tmp_path / "dot.png"
    assert cv2.imwrite(str(picture), np.zeros((1, 1, 3), np.uint8))
    for given, told in (((), "input"), ((f"input={picture}",), "model")):
        line = complaint(run_script("predict_images", f"output={tmp_path / 'out'}", *given))
        assert f"Missing mandatory value: {told}" in line


def test_a_video_becomes_a_video(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 5, (SIDE, SIDE))
    if not writer.isOpened():
        pytest.skip("this OpenCV has no encoder of motion JPEG")
    for path in sorted(pictures.iterdir()) * 3:
        writer.write(cv2.imread(str(path)))
    writer.release()
    given = (f"input={source}", "batch_size=1")
    printed = finished(predict(*given))
    out = tmp_path / "out"
    assert "clip.mp4: 12 frames, " in printed
    entries = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [entry["frame"] for entry in entries] == list(range(12))
    assert all({"keypoints", "score"} == person.keys() for entry in entries for person in entry["people"])
    assert any(entry["people"] for entry in entries)
    video = cv2.VideoCapture(str(out / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    assert "already done: 12 frames" in finished(predict(*given))

    log = out / "predictions.jsonl"
    whole = log.read_bytes()
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:7]))
    (out / "clip.mp4").unlink()
    assert "(7 of them before)" in finished(predict(*given))
    assert log.read_bytes() == whole
    assert (out / "clip.mp4").is_file()


def test_the_defaults_are_quick_and_sure(config: DictConfig) -> None:
    assert (config.inference.flip_test, config.inference.threshold, config.min_score) == (False, 0.1, 0.2)
    assert (config.on_bad_image, config.output) == ("skip", "runs/tiny-people/predictions")
