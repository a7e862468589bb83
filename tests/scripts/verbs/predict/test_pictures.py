"""Pictures in, drawn people and COCO files out, whatever the folder holds; started again, it goes on."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.files import read_json

Array = npt.NDArray[Any]
Complaint = Callable[[Any], str]
Finished = Callable[[Any], str]
PeopleOf = Callable[[Path], list[tuple[Array, Array]]]


def test_a_folder_becomes_drawn_pictures_and_coco_files(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path, side: int, finished: Finished, people_of: PeopleOf
) -> None:
    (pictures / "sub").mkdir()
    (pictures / "000001.jpg").rename(pictures / "sub" / "001.png")
    printed = finished(predict("sheet=3"))
    out = tmp_path / "out"
    names = ["000002.jpg", "000003.jpg", "000004.jpg", "sub/001.png"]
    images = read_json(out / "images.json")["images"]
    assert images == [
        {"id": index, "file_name": name, "width": side, "height": side} for index, name in enumerate(names, start=1)
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


def test_a_single_picture_of_another_shape(
    predict: Callable[..., Any], exported: Path, tmp_path: Path, finished: Finished, people_of: PeopleOf
) -> None:
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


def test_what_is_done_is_not_done_again(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path, finished: Finished, people_of: PeopleOf
) -> None:
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
    predict: Callable[..., Any], exported: Path, tmp_path: Path, complaint: Complaint, finished: Finished
) -> None:
    finished(predict())
    results = (tmp_path / "out" / "predictions.jsonl").read_bytes()
    for override, told in (
        ("inference.flip_test=true", "inference.flip_test was False, is True"),
        ("min_score=0.9", "min_score was -1.0, is 0.9"),
        (f"model={exported / 'model.onnx'}", "model was '"),
        (f"input={exported.parent}", "holds no pictures"),
    ):
        assert told in complaint(predict(override))
    finished(predict("batch_size=1"))
    assert (tmp_path / "out" / "predictions.jsonl").read_bytes() == results


def test_pictures_that_cannot_be_read_are_named_counted_and_skipped(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path, complaint: Complaint, finished: Finished
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


def test_what_is_left_out_is_told_by_kind_and_number(
    predict: Callable[..., Any],
    pictures: Path,
    exported: Path,
    tmp_path: Path,
    complaint: Complaint,
    finished: Finished,
) -> None:
    assert "left out" not in finished(predict())
    for name in ("a.HEIC", "b.heic", "c.gif", "README", ".hidden.jpg", "clip.mp4"):
        (pictures / name).touch()
    (pictures / "album").symlink_to(exported)
    (pictures / ".thumbnails").mkdir()
    kinds = (
        "2 x .heic, 1 x hidden folder, 1 x linked folder, 1 x hidden file, 1 x file without suffix, 1 x .gif, 1 x .mp4"
    )
    told = finished(predict())
    (line,) = [line for line in told.splitlines() if "left out" in line]
    assert line.endswith("; pictures end in .jpg, .jpeg, .png, .bmp, .webp, .tif, .tiff")
    assert set(line.partition("left out ")[2].partition(";")[0].split(", ")) == set(kinds.split(", "))
    for path in pictures.glob("0*.jpg"):
        path.unlink()
    assert "holds no pictures, but 2 x .heic, 1 x" in complaint(predict(f"output={tmp_path / 'none'}"))


def test_a_picture_that_cannot_be_written_stops_no_other(
    predict: Callable[..., Any],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    complaint: Complaint,
    finished: Finished,
) -> None:
    def too_wide(suffix: str, pixels: Array) -> tuple[bool, Array]:
        return (False, pixels) if suffix == ".webp" else imencode(suffix, pixels)

    imencode = cv2.imencode
    (pictures / "000001.jpg").rename(pictures / "wide.webp")
    monkeypatch.setattr(cv2, "imencode", too_wide)
    printed = finished(predict())
    assert "wide.webp: cannot be written, for OpenCV does not encode 96x96 as .webp" in printed
    assert "3 pictures, " in printed
    assert ", 1 skipped" in printed
    assert "cannot be written" in complaint(predict("on_bad_image=error"))


def test_a_folder_of_bad_pictures_alone_is_refused_and_binds_nothing(
    predict: Callable[..., Any], tmp_path: Path, complaint: Complaint, finished: Finished
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.jpg").touch()
    assert "not one of 1 pictures can be read" in complaint(predict(f"input={bad}"))
    finished(predict("inference.max_people=3"))
