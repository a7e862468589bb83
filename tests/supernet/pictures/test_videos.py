"""Videos go out and come back, whole or not at all."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.pictures.videos import VideoReader, is_video, replacing_video

Array = npt.NDArray[Any]


def frames(count: int, width: int = 64, height: int = 48) -> list[Array]:
    """Frames whose red says their number, blue in the upper half."""
    made = np.zeros((count, height, width, 3), np.uint8)
    made[:, : height // 2, :, 2] = 200
    made[..., 0] = (20 * np.arange(count))[:, None, None]
    return list(made)


@pytest.fixture
def can_encode(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "probe.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    opened = writer.isOpened()
    writer.release()
    (tmp_path / "probe.mp4").unlink(missing_ok=True)
    if not opened:
        pytest.skip("this OpenCV has no MP4 encoder")


@pytest.mark.usefixtures("can_encode")
@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_frames_come_back_in_order(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "clip.mp4"
    made = frames(9, width, height)
    with replacing_video(path, 12.5) as writer:
        for frame in made:
            writer.write(frame)
        assert not path.exists()
    with VideoReader(path) as video:
        assert video.frame_rate == pytest.approx(12.5)
        assert video.num_frames == 9
        read = list(video)
    assert len(read) == 9
    for index, frame in enumerate(read):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame[..., 0].mean(), 20 * index, atol=6)
        assert frame[:20, :, 2].mean() > 150 > 50 > frame[-20:, :, 2].mean()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.usefixtures("can_encode")
def test_an_interrupted_video_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / ".litepose-01.tmp").touch()
    (tmp_path / ".litepose-01.tmp.mp4").write_bytes(b"left by a process that was killed")

    def interrupted() -> None:
        with replacing_video(tmp_path / "clip.mp4", 10) as writer:
            writer.write(frames(1)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("can_encode")
def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with replacing_video(tmp_path / "clip.mp4", 10) as writer:
        writer.write(frames(1)[0])
        with pytest.raises(InputError, match="a frame is 32x48 after 64x48"):
            writer.write(frames(1, width=32)[0])


class NoEncoder:
    """An OpenCV without FFmpeg."""

    def __init__(self, *arguments: object) -> None: ...

    @staticmethod
    def fourcc(*letters: str) -> int:
        return 0

    def isOpened(self) -> bool:
        return False

    def release(self) -> None: ...


def test_a_missing_encoder_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", NoEncoder)
    with (
        pytest.raises(InputError, match=r"^this OpenCV has no encoder 'mp4v' for MP4 video; install an OpenCV"),
        replacing_video(tmp_path / "clip.mp4", 10) as writer,
    ):
        writer.write(frames(1)[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    told = "no such file" if content is None else "does not open as a video"
    with pytest.raises(InputError, match=rf"clip\.mp4: {told}"):
        VideoReader(path)


def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(InputError, match=r"clip\.mp4: is a pipe"):
        VideoReader(tmp_path / "clip.mp4")


def test_a_name_that_opencv_crashes_on_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.mp4")
    path.touch()
    with pytest.raises(InputError, match="has a name that is not UTF-8"):
        VideoReader(path)
    with (
        pytest.raises(InputError, match="has a name that is not UTF-8"),
        replacing_video(path.with_suffix("") / "a.mp4", 5) as writer,
    ):
        writer.write(frames(1)[0])


def test_videos_are_known_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    assert not is_video(tmp_path / "folder.mp4")
    assert [is_video(Path(name)) for name in ("a.MP4", "b.mkv", "c.jpg", "mp4")] == [True, True, False, False]
