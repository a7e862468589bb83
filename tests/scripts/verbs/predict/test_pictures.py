"""Pictures in, drawn people and COCO files out, whatever the folder holds; started again, it goes on."""

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from litepose_ofa.supernet.files import read_json


def test_a_folder_becomes_drawn_pictures_and_coco_files(
    predict: Any, pictures: Path, tmp_path: Path, people_of: Any
) -> None:
    (pictures / "sub").mkdir()
    (pictures / "000001.jpg").rename(pictures / "sub" / "001.png")
    (pictures / "a.HEIC").touch()
    printed = predict("sheet=3").printed
    assert "left out 1 x .heic; pictures end in .jpg, .jpeg, .png, .bmp, .webp, .tif, .tiff" in printed
    out, names = tmp_path / "out", ["000002.jpg", "000003.jpg", "000004.jpg", "sub/001.png"]
    assert read_json(out / "images.json")["images"] == [
        {"id": index, "file_name": name, "width": 96, "height": 96} for index, name in enumerate(names, start=1)
    ]
    found = people_of(out)
    count = sum(len(people) for people, _ in found.values())
    assert count > 0
    for name, (people, scores) in found.items():
        source, drawn = cv2.imread(str(pictures / name)), cv2.imread(str(out / "pictures" / name))
        assert source.shape == drawn.shape
        assert (np.abs(source.astype(int) - drawn) > 60).any() == (len(people) > 0)
        assert (np.diff(scores) <= 0).all()
    line = rf"predictions\.json: 4 pictures, {count} people of score -1 and above; "
    assert re.search(line + r"network [\d.]+ ms, decoding [\d.]+ ms a picture, [\d.]+ pictures/s", printed)
    assert cv2.imread(str(out / "sheet.png")).shape[1] == 3 * 240 + 2 * 4
    assert read_json(out / "run.json")["config"]["skeleton"] == "crowdpose"
    assert not list(out.rglob(".*.tmp"))


def test_a_single_picture_of_another_shape(predict: Any, exported: Path, tmp_path: Path, people_of: Any) -> None:
    picture = tmp_path / "one.png"
    assert cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (70, 201, 3), np.uint8))
    for kind, model in (("torch", exported), ("onnx", exported / "model.onnx")):
        out = tmp_path / kind
        assert predict(f"input={picture}", f"model={model}", f"output={out}").status == 0
        assert cv2.imread(str(out / "pictures" / "one.png")).shape == (70, 201, 3)
        people, _ = people_of(out)["one.png"]
        joints = people[people[..., 2] > 0]
        assert joints[:, 0].max() > 100
        assert (np.abs(joints[:, :2] - (100.5, 35)).max(axis=0) <= (130, 101)).all(), "in the input, its padding too"


def test_what_is_done_is_not_done_again_and_not_mixed(
    predict: Any, pictures: Path, exported: Path, tmp_path: Path, people_of: Any
) -> None:
    out = tmp_path / "out"
    assert predict().status == 0
    before = {path: path.stat().st_mtime_ns for path in (out / "pictures").iterdir()}
    results = (out / "predictions.json").read_bytes()
    assert "already done: 4 pictures" in predict().printed
    assert {path: path.stat().st_mtime_ns for path in (out / "pictures").iterdir()} == before
    assert "inference.flip_test was False, is True" in predict("inference.flip_test=true").refusal
    assert "model was '" in predict(f"model={exported / 'model.onnx'}").refusal

    log = out / "predictions.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    (out / "predictions.json").unlink()
    assert "4 pictures (2 of them before), " in predict("batch_size=1").printed
    assert (out / "predictions.json").read_bytes() == results, "interrupted or not"

    (pictures / "000001.jpg").unlink()
    shutil.copy(pictures / "000003.jpg", pictures / "000002.jpg")
    (out / "pictures" / "000004.jpg").unlink()
    assert "3 pictures (1 of them before), " in predict().printed, "the changed and the undrawn one again"
    found = people_of(out)
    np.testing.assert_allclose(found["000002.jpg"][1], found["000003.jpg"][1], atol=1e-5)


def test_pictures_that_cannot_be_read_are_named_counted_and_skipped(
    predict: Any, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "000002.jpg").write_bytes(b"nothing")
    for name, shape in (("strip", (2, 100, 3)), ("huge", (1500, 1000, 3)), ("dot", (1, 1, 3))):
        assert cv2.imwrite(str(pictures / f"{name}.png"), np.zeros(shape, np.uint8))
    printed = predict("max_megapixels=1").printed
    for name, reason in (
        ("000002.jpg", "does not decode"),
        ("strip.png", "a side may be at most 8 times the other"),
        ("huge.png", "at most 1 megapixels"),
    ):
        assert re.search(rf"skipped .*/{name}: .*{reason}", printed)
    assert re.search(r"4 pictures, .*, 3 skipped", printed)
    assert len(read_json(tmp_path / "out" / "images.json")["images"]) == 4
    assert re.search("already done: 4 pictures, .*, 3 skipped", predict("max_megapixels=1").printed)
    strict = predict("on_bad_image=error", f"output={tmp_path / 'strict'}")
    assert "000002.jpg: does not decode" in strict.refusal
    for path in pictures.iterdir():
        path.write_bytes(b"nothing")
    given = f"output={tmp_path / 'bad'}"
    assert "not one of 7 pictures can be read" in predict(given).refusal
    assert "not one of 7 pictures can be read" in predict(given, "inference.max_people=3").refusal, "it binds nothing"


def test_a_picture_that_cannot_be_written_stops_no_other(
    predict: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_wide(suffix: str, pixels: Any) -> Any:
        return (False, pixels) if suffix == ".webp" else imencode(suffix, pixels)

    imencode = cv2.imencode
    (pictures / "000001.jpg").rename(pictures / "wide.webp")
    monkeypatch.setattr(cv2, "imencode", too_wide)
    printed = predict().printed
    assert "wide.webp: cannot be written, for OpenCV does not encode 96x96 as .webp" in printed
    assert re.search(r"3 pictures, .*, 1 skipped", printed)
    assert "cannot be written" in predict("on_bad_image=error").refusal
