"""A video in, a drawn video out; interrupted, it goes on."""

import json
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
