"""Every format that is read gives the pixels as stored; others, and kinds that OpenCV misreads, are refused by name."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data import image_files
from litepose_ofa.supernet.data.findings import Kind
from litepose_ofa.supernet.data.image_files import MAX_SIDE, BadImageError, read_image_file
from litepose_ofa.supernet.data.image_headers import ImageHeader, read_header, read_orientation

Pixels = npt.NDArray[Any]

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (30, 40, 3), np.uint8)
GREY = RNG.integers(0, 256, (30, 40), np.uint8)
ALPHA = RNG.integers(0, 256, (30, 40, 4), np.uint8)
DEEP = RNG.integers(0, 1 << 16, (30, 40, 3), np.uint16)


def encoded(pixels: Pixels, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def png_of(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Pixels]:
    def write_and_read(content: bytes, size: tuple[int, int] = (40, 30)) -> Pixels:
        path = tmp_path / "image"
        path.write_bytes(content)
        return read_image_file(path, size)

    return write_and_read


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (COLOUR, COLOUR[..., ::-1]),
        (GREY, np.repeat(GREY[..., None], 3, axis=2)),
        (ALPHA, ALPHA[..., 2::-1]),
        (DEEP, (DEEP >> 8).astype(np.uint8)[..., ::-1]),
        (DEEP[..., 0], np.repeat((DEEP[..., :1] >> 8).astype(np.uint8), 3, axis=2)),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_every_image_becomes_rgb_of_8_bits(
    read: Callable[..., Pixels], pixels: Pixels, expected: Pixels, suffix: str
) -> None:
    image = read(encoded(pixels, suffix))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), expected, atol=suffix == ".tiff")  # whose 16 bits are rounded


def test_the_largest_image_is_read_and_a_larger_one_is_not_decoded(
    read: Callable[..., Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    hundred_megapixels = 10_000
    assert hundred_megapixels**2 < image_files.MAX_PIXELS
    flat = np.zeros((hundred_megapixels, hundred_megapixels), np.uint8)
    content = bytes(cv2.imencode(".png", flat, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    assert read(content, (hundred_megapixels, hundred_megapixels)).shape == (hundred_megapixels, hundred_megapixels, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it must not be decoded"))
    with pytest.raises(BadImageError, match="is 2147483647x2147483647; its entry says 40x30"):
        read(png_of((1 << 31) - 1, (1 << 31) - 1))


def test_headers() -> None:
    for suffix in (".png", ".jpg", ".bmp", ".webp"):
        assert read_header(encoded(COLOUR, suffix)) == ImageHeader(40, 30, 3)
    assert read_header(encoded(GREY, ".jpg")) == ImageHeader(40, 30, 1)
    assert read_header(encoded(ALPHA)) == ImageHeader(40, 30, 4, has_alpha=True)
    assert read_header(encoded(DEEP)) == ImageHeader(40, 30, 3, bits=16)
    for cut in (b"", encoded(COLOUR)[:20], encoded(COLOUR, ".jpg")[:100]):
        assert read_header(cut) is None


def test_what_does_not_decode_is_named(read: Callable[..., Pixels]) -> None:
    cut = [encoded(COLOUR, suffix)[:100] for suffix in (".png", ".webp", ".bmp", ".jpg")]
    for content in (b"", b"no image", *cut, png_of(40, 30), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x00" * 20):
        with pytest.raises(BadImageError, match="image: does not decode as an image") as caught:
            read(content)
        assert caught.value.kind is Kind.CORRUPT_IMAGE


def test_a_file_that_cannot_be_opened_or_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "absent", tmp_path / ("a" * 1000)):
        with pytest.raises(BadImageError, match="cannot be read") as caught:
            read_image_file(path, (1, 1))
        assert caught.value.kind is Kind.MISSING_IMAGE
    monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 10)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(BadImageError, match="has 11 bytes; at most 10 are read"):
        read_image_file(tmp_path / "large", (1, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_the_stored_pixels_are_read_whatever_the_orientation(
    read: Callable[..., Pixels], image_bytes: Callable[..., bytes], suffix: str, orientation: int
) -> None:
    content = image_bytes(suffix, COLOUR, orientation)
    header = read_header(content)
    assert header is not None
    assert (header.width, header.height, read_orientation(content)) == (40, 30, orientation)
    np.testing.assert_array_equal(read(content), read(image_bytes(suffix, COLOUR, 1)))
    with pytest.raises(BadImageError, match=r"is 40x30; its entry says 41x30$"):
        read(content, (41, 30))
    if orientation > 4:
        with pytest.raises(BadImageError, match="its EXIF orientation turns it"):
            read(content, (30, 40))


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_of_a_tiff_changes_no_colour(
    read: Callable[..., Pixels], tiff_bytes: Callable[..., bytes], kind: int, dtype: type
) -> None:
    scale = 257 if dtype == np.uint16 else 1
    pixels = np.dstack([COLOUR, np.full((30, 40), 255, np.uint8)]).astype(dtype) * scale
    pixels[..., 3] = 7
    content = tiff_bytes(pixels, {338: kind})
    assert read_header(content) == ImageHeader(
        40,
        30,
        4,
        has_alpha=True,
        bits=8 * pixels.itemsize,
        neutral=read_header(content).neutral,  # type: ignore[union-attr]
    )
    np.testing.assert_allclose(read(content).astype(int), COLOUR, atol=1)


@pytest.mark.parametrize(
    ("dtype", "channels", "tags"),
    [
        (np.float32, 1, {339: 3}),
        (np.int8, 1, {339: 2}),
        (np.uint32, 1, {}),
        (np.uint8, 3, {262: 8}),
        (np.uint16, 1, {262: 0}),
        (np.uint16, 3, {284: 2}),
    ],
    ids=["floats", "signed", "32 bits", "LAB", "16 bits, white is 0", "16 bits, plane by plane"],
)
def test_a_tiff_that_opencv_misreads_is_refused(
    read: Callable[..., Pixels], tiff_bytes: Callable[..., bytes], dtype: type, channels: int, tags: dict[int, int]
) -> None:
    pixels = np.zeros((30, 40, channels), dtype)
    with pytest.raises(BadImageError, match=r"is a TIFF of .*; convert it to PNG"):
        read(tiff_bytes(pixels, tags))


def test_another_format_is_refused_by_name(read: Callable[..., Pixels]) -> None:
    for content, name in (
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (encoded(COLOUR, ".ppm"), "Netpbm"),
        (encoded(COLOUR.astype(np.float32), ".hdr"), "Radiance HDR"),
        (b"II+\0", "BigTIFF"),
    ):
        with pytest.raises(BadImageError, match=f"image: is {name}.*; JPEG, PNG, WebP, TIFF and BMP are read"):
            read(content + bytes(20))


def test_a_palette_a_bit_a_pixel_and_cmyk_are_decoded(
    read: Callable[..., Pixels], tiff_bytes: Callable[..., bytes]
) -> None:
    ink = np.dstack([255 - COLOUR, np.zeros((30, 40), np.uint8)])
    content = tiff_bytes(ink, {262: 5})
    header = read_header(content)
    assert header is not None
    assert (header.channels, header.has_alpha) == (4, False)
    np.testing.assert_allclose(read(content).astype(int), COLOUR, atol=1)
    bits = np.packbits(COLOUR[..., 0] > 127, axis=1)
    white = np.repeat(255 * (COLOUR[..., :1] > 127), 3, axis=2)
    np.testing.assert_array_equal(read(tiff_bytes(bits, {256: 40, 258: 1})), white)
    two_bits = bytes(cv2.imencode(".png", COLOUR[..., 0], [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes())
    assert read_header(two_bits) == ImageHeader(40, 30, 1, bits=1)


def test_a_side_that_old_versions_of_opencv_do_not_warp_is_refused(read: Callable[..., Pixels]) -> None:
    assert read(encoded(np.zeros((1, MAX_SIDE), np.uint8)), (MAX_SIDE, 1)).shape == (1, MAX_SIDE, 3)
    with pytest.raises(BadImageError, match=f"is {MAX_SIDE + 1}x1; a side may be at most {MAX_SIDE} pixels"):
        read(encoded(np.zeros((1, MAX_SIDE + 1), np.uint8)), (MAX_SIDE + 1, 1))
