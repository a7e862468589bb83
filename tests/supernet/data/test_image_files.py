import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data import image_files
from litepose_ofa.supernet.data.coco.findings import Kind
from litepose_ofa.supernet.data.image_files import BadImageError, read_image_file
from litepose_ofa.supernet.data.image_headers import ImageHeader, read_header

Pixels = npt.NDArray[np.generic]

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (30, 40, 3), np.uint8)
GREY = RNG.integers(0, 256, (30, 40), np.uint8)
ALPHA = RNG.integers(0, 256, (30, 40, 4), np.uint8)
DEEP = RNG.integers(0, 1 << 16, (30, 40, 3), np.uint16)


def encoded(pixels: Pixels, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def turned(jpeg: bytes, orientation: int, order: str = ">") -> bytes:
    """Put an EXIF orientation into a JPEG."""
    mark = b"MM" if order == ">" else b"II"
    tiff = mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


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


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
def test_one_pixel(read: Callable[..., Pixels], suffix: str) -> None:
    image = read(encoded(np.full((1, 1, 3), 77, np.uint8), suffix), (1, 1))
    assert image.shape == (1, 1, 3)
    np.testing.assert_allclose(image, 77, atol=2)


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_stored_pixels_are_read_whatever_exif_says(
    read: Callable[..., Pixels], orientation: int, order: str
) -> None:
    plain = encoded(COLOUR, ".jpg")
    content = turned(plain, orientation, order)
    np.testing.assert_array_equal(read(content), read(plain))
    header = read_header(content)
    assert header == ImageHeader(40, 30, channels=3, orientation=orientation)
    if orientation > 4:
        with pytest.raises(BadImageError, match=r"is 40x30; its entry says 30x40; .* its EXIF orientation turns it"):
            read(content, (30, 40))


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (encoded(COLOUR), ImageHeader(40, 30, 3)),
        (encoded(GREY), ImageHeader(40, 30, 1)),
        (encoded(ALPHA), ImageHeader(40, 30, 4, has_alpha=True)),
        (encoded(DEEP), ImageHeader(40, 30, 3, bits=16)),
        (encoded(COLOUR, ".jpg"), ImageHeader(40, 30, 3)),
        (encoded(GREY, ".jpg"), ImageHeader(40, 30, 1)),
        (encoded(COLOUR, ".bmp"), ImageHeader(40, 30, 3)),
        (encoded(COLOUR, ".webp"), ImageHeader(40, 30, 3)),
        (b"", None),
        (encoded(COLOUR)[:20], None),
        (encoded(COLOUR, ".jpg")[:100], None),
    ],
)
def test_headers(content: bytes, header: ImageHeader | None) -> None:
    assert read_header(content) == header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        encoded(COLOUR, ".jpg")[:400],
        encoded(COLOUR)[:100],
        encoded(COLOUR, ".webp")[:100],
        encoded(COLOUR, ".bmp")[:100],
        png_of(40, 30),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x00" * 20,
    ],
)
def test_what_does_not_decode_is_named(read: Callable[..., Pixels], content: bytes) -> None:
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


def test_another_size_is_named(read: Callable[..., Pixels]) -> None:
    for suffix in (".png", ".jpg", ".bmp"):
        with pytest.raises(BadImageError, match=r"is 40x30; its entry says 41x30$") as caught:
            read(encoded(COLOUR, suffix), (41, 30))
        assert caught.value.kind is Kind.IMAGE_SIZE
