"""Videos as a stream of frames, in and out, through OpenCV."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import replacing, require_regular

Image = npt.NDArray[np.uint8]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
CODEC = "mp4v"
DEFAULT_FRAME_RATE = 25.0
"""Frames a second of a file that does not state it."""


def is_video(path: Path) -> bool:
    """Whether the file's name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


class VideoReader:
    """The frames of a video file, read one at a time.

    ``frame_rate`` is in frames a second; ``num_frames`` is what the file states, 0 if it does not, and may be more than
    can be read. A file that OpenCV cannot open is an ``InputError``.
    """

    def __init__(self, path: Path) -> None:
        require_regular(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self._capture = cv2.VideoCapture(_opencv_name(path))
        if not self._capture.isOpened():
            raise InputError(f"{path}: does not open as a video")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = rate if 0 < rate < 1000 else DEFAULT_FRAME_RATE
        self.num_frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[Image]:
        """Yield the frames that are left as RGB, shape (H, W, 3), the way up that the file says."""
        while True:
            read, frame = self._capture.read()
            if not read:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._capture.release()


class VideoWriter:
    """Frames into an MP4 file; the first frame sets the size, an odd one loses its last row or column."""

    def __init__(self, path: Path, frame_rate: float) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, frame: Image) -> None:
        """Append a frame, RGB, shape (H, W, 3).

        Raises:
            InputError: If OpenCV has no encoder, or the frame is of another size than the first.
        """
        size = (frame.shape[1], frame.shape[0])
        even = (size[0] - size[0] % 2, size[1] - size[1] % 2)  # the encoder takes no others
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*CODEC)
            self._size = size
            self._writer = cv2.VideoWriter(_opencv_name(self._path), codec, self._frame_rate, even)
            if not self._writer.isOpened():
                needs = "install an OpenCV that has FFmpeg, or take the video apart into pictures"
                raise InputError(f"this OpenCV has no encoder {CODEC!r} for MP4 video; {needs}")
        if size != self._size:
            found = f"{size[0]}x{size[1]} after {self._size[0]}x{self._size[1]}"
            raise InputError(f"a frame is {found}; the frames of a video must be of one size")
        self._writer.write(cv2.cvtColor(frame[: even[1], : even[0]], cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def replacing_video(path: Path, frame_rate: float) -> Iterator[VideoWriter]:
    """Yield a writer of an MP4 file that appears at ``path`` if the block succeeds; it must write a frame."""
    with replacing(path) as temporary:
        encoded = temporary.with_name(f"{temporary.name}.mp4")  # OpenCV finds the container by the name's end
        writer = VideoWriter(encoded, frame_rate)
        try:
            try:
                yield writer
            finally:
                writer.close()
            os.replace(encoded, temporary)
        finally:
            encoded.unlink(missing_ok=True)


def _opencv_name(path: Path) -> str:
    """Return a path for OpenCV, which crashes on one that is not UTF-8; such a path is refused here."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: has a name that is not UTF-8, which OpenCV needs of a video; rename it") from None
    return str(path)
