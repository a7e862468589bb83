"""A video in, a drawn video out, whole or not at all."""

import errno
import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest

from litepose_ofa.supernet.pictures.videos import VideoWriter


@pytest.fixture
def clip(pictures: Path, tmp_path: Path) -> Path:
    """A video of twelve frames."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (96, 96))
    if not writer.isOpened():
        pytest.skip("this OpenCV has no encoder of motion JPEG")
    for picture in sorted(pictures.iterdir()) * 3:
        writer.write(cv2.imread(str(picture)))
    writer.release()
    return path


def test_a_video_becomes_a_video(predict: Any, clip: Path, tmp_path: Path) -> None:
    printed = predict(f"input={clip}", "batch_size=1").printed
    out = tmp_path / "out"
    assert "clip.mp4: 12 frames, " in printed
    assert "left out" not in printed
    entries = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [entry["frame"] for entry in entries] == list(range(12))
    assert all({"keypoints", "score"} == person.keys() for entry in entries for person in entry["people"])
    assert any(entry["people"] for entry in entries)
    video = cv2.VideoCapture(str(out / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    assert "12 frames, 0 people" in predict(f"input={clip}", "min_score=1").printed, "predicted again"


def test_frames_that_cannot_be_read_are_counted(predict: Any, clip: Path) -> None:
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 6 // 10])
    printed = predict(f"input={clip}").printed
    count = re.search(r"clip\.avi: states 12 frames, of which (\d+) could be read; the others are left out", printed)
    assert count
    assert 0 < int(count[1]) < 12
    assert f"{count[1]} frames, " in printed


def test_a_video_that_fails_leaves_neither_half_a_video_nor_half_a_record(
    predict: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: VideoWriter, frame: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoWriter, "write", full)
    assert "No space left on device" in predict(f"input={clip}").refusal
    assert {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".log"} <= {"run.json", ".hydra"}
