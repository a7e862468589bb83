"""A video in, a drawn video out; interrupted, it goes on."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

Finished = Callable[[Any], str]


def test_a_video_becomes_a_video(
    predict: Callable[..., Any],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: int,
    finished: Finished,
) -> None:
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 5, (side, side))
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


def test_frames_that_cannot_be_read_are_counted(
    predict: Callable[..., Any], pictures: Path, tmp_path: Path, side: int, finished: Finished
) -> None:
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 5, (side, side))
    if not writer.isOpened():
        pytest.skip("this OpenCV has no encoder of motion JPEG")
    for path in sorted(pictures.iterdir()) * 3:
        writer.write(cv2.imread(str(path)))
    writer.release()
    content = source.read_bytes()
    assert "left out" not in finished(predict(f"input={source}"))
    source.write_bytes(content[: len(content) * 6 // 10])
    for printed in [finished(predict(f"input={source}", f"output={tmp_path / 'cut'}")) for _ in range(2)]:
        count = re.search(
            r"clip\.avi: states 12 frames, of which (\d+) could be read; the others are left out", printed
        )
        assert count
        assert 0 < int(count[1]) < 12
        assert f"{count[1]} frames, " in printed
