"""Pictures of every kind become RGB the right way up, or a message that names them."""

import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data.image_files import BadImageError
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.pictures.files import find_pictures, read_picture

Array = npt.NDArray[Any]


def write(path: Path, pixels: Array) -> Path:
    """Write what ``cv2.imwrite`` can; colours in OpenCV's order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def gradient(height: int = 20, width: int = 30) -> Array:
    rows, columns = np.indices((height, width))
    return np.stack([rows * 5, columns * 5, rows + columns], axis=2).astype(np.uint8)


def test_pictures_are_found_by_name_in_subfolders_too(tmp_path: Path) -> None:
    names = ["b.jpg", "a.PNG", "sub/z.webp", "sub/deep/c.tif", "Zed.jpeg", "d.bmp"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("notes.txt", ".hidden.jpg", ".cache/x.jpg", "film.mp4", "jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path)]
    assert found == ["Zed.jpeg", "a.PNG", "b.jpg", "d.bmp", "sub/z.webp", "sub/deep/c.tif"]
    assert list(find_pictures(tmp_path / "b.jpg")) == [tmp_path / "b.jpg"]


def test_what_is_passed_over_is_counted_by_kind(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    for name in ("a.jpg", "b.HEIC", "closed/c.heic", "closed/.d.jpg", "e.\udcff", "README"):
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to(tmp_path)
    left_out: Counter[str] = Counter()
    assert list(find_pictures(tmp_path, left_out)) == [tmp_path / "a.jpg"]
    others = {"hidden file": 1, "linked folder": 1, "file without suffix": 1, ".\\udcff": 1}
    assert left_out == {".heic": 2, **others}


def test_a_pipe_is_no_source_and_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg: is a pipe"):
        list(find_pictures(tmp_path / "pipe.jpg"))
    with pytest.raises(BadImageError, match=r"cannot be read .it is not a regular file"):
        read_picture(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    ("name", "told"), [("none", "no such file or folder"), ("notes.txt", "is not a picture; .*png")]
)
def test_a_source_that_is_none_is_named(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path / name))}: {told}"):
        list(find_pictures(tmp_path / name))


def test_grey_transparency_and_16_bits(tmp_path: Path) -> None:
    pixels = gradient()
    grey = read_picture(write(tmp_path / "grey.png", pixels[..., 0]))
    np.testing.assert_array_equal(grey, np.repeat(pixels[..., :1], 3, axis=2))
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(read_picture(write(tmp_path / "alpha.png", alpha)), pixels[..., ::-1])
    deep = pixels.astype(np.uint16) * 256 + 255
    for name in ("deep.png", "deep.tif"):
        read = read_picture(write(tmp_path / name, deep))
        assert read.dtype == np.uint8
        np.testing.assert_allclose(read, pixels[..., ::-1], atol=1)


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"),
    [
        (1, 0, False),
        (2, 0, True),
        (3, 2, False),
        (4, 2, True),
        (5, 1, True),
        (6, 3, False),
        (7, 3, True),
        (8, 1, False),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_exif_orientation_is_applied(
    tmp_path: Path, image_bytes: Callable[..., bytes], suffix: str, orientation: int, turns: int, mirrored: bool
) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = 255
    path = tmp_path / f"turned{suffix}"
    path.write_bytes(image_bytes(suffix, pixels, orientation))
    expected = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
    read = read_picture(path)
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(("height", "width"), [(1, 9), (90, 10), (2, 17)])
def test_a_strip_is_refused(tmp_path: Path, height: int, width: int) -> None:
    with pytest.raises(BadImageError, match=f"is {width}x{height}; a side may be at most 8 times the other"):
        read_picture(write(tmp_path / "strip.png", gradient(height, width)))


def test_a_picture_with_too_many_pixels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "large.bmp", gradient(40, 50))
    with pytest.raises(BadImageError, match=r"large\.bmp: is 50x40; at most 0\.0019 megapixels are accepted"):
        read_picture(path, max_megapixels=0.0019)
    assert read_picture(path, max_megapixels=0.002).shape == (40, 50, 3)


def test_a_header_that_promises_too_much_is_refused_before_decoding(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 20_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(BadImageError, match="is 30000x20000; at most 100 megapixels"):
        read_picture(tmp_path / "bomb.png")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_does_not_decode_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(BadImageError, match=r"bad\.jpg: does not decode"):
        read_picture(tmp_path / "bad.jpg")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for name in ("none.jpg", "folder.jpg"):
        with pytest.raises(BadImageError, match=f"{name}: cannot be read"):
            read_picture(tmp_path / name)
