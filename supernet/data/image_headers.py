"""What an image file says about itself, before anything is decoded, so that a lie about gigabytes costs nothing.

Sources: ITU-T T.81, annex B (JPEG); W3C PNG, sections 11.2 and 11.3; RFC 9649 (WebP); TIFF 6.0; Microsoft's
BITMAPINFOHEADER (BMP); CIPA DC-008 (EXIF, whose directory is TIFF's).
"""

import re
import struct
from dataclasses import dataclass

FORMATS = "JPEG, PNG, WebP, TIFF and BMP"

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_OTHER_FORMATS = (
    (0, b"GIF8", "GIF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyp", "HEIC or another format of video files"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"II+\0", "BigTIFF"),
    (0, b"MM\0+", "BigTIFF"),
    *((0, f"P{kind}\n".encode(), "Netpbm or PFM") for kind in "1234567fF"),
)

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANES = 256, 257, 258, 262, 274, 277, 284
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339

_EXIF = re.compile(rb"(?:Exif\0\0|eXIf|EXIF.{4})(?=II\*\0|MM\0\*)", re.DOTALL)
"""What stands before the TIFF header of EXIF data: in a JPEG or a WebP, in a PNG, in a WebP."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a file says about itself.

    Attributes:
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        channels: 1 grey, 2 grey and alpha, 3 colours, 4 colours and alpha, or CMYK; of a palette 3.
        has_alpha: Whether one of them is alpha.
        bits: Bits a channel.
        unreadable: Why OpenCV would show other pixels than the file holds, if it would.
        neutral: Bytes, and where they go, after which OpenCV returns the pixels as they are stored.
    """

    width: int
    height: int
    channels: int
    has_alpha: bool = False
    bits: int = 8
    unreadable: str | None = None
    neutral: tuple[tuple[int, bytes], ...] = ()


def read_header(encoded: bytes) -> ImageHeader | None:
    """Return what a JPEG, PNG, WebP, TIFF or BMP says about itself; None if it is none of them or is damaged."""
    try:
        if encoded.startswith(_JPEG):
            return _jpeg_header(encoded)
        if encoded.startswith(_PNG):
            return _png_header(encoded)
        if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
            return _webp_header(encoded)
        if encoded[:4] in _TIFF:
            return _tiff_header(encoded)
        return _bmp_header(encoded) if encoded.startswith(b"BM") else None
    except (IndexError, KeyError, struct.error):
        return None


def read_orientation(encoded: bytes) -> int:
    """Return the EXIF orientation of an image file, 1 (upright) to 8; 1 if it says none or something else."""
    exif = _EXIF.search(encoded)
    tiff = encoded if encoded[:4] in _TIFF else encoded[exif.end() :] if exif else b""
    try:
        orientation = _directory(tiff)[_ORIENTATION][0]
    except (KeyError, struct.error):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def foreign_format(encoded: bytes) -> str | None:
    """Return the name of a known format that is not read, None if it is none."""
    return next((name for start, mark, name in _OTHER_FORMATS if encoded.startswith(mark, start)), None)


def _jpeg_header(encoded: bytes) -> ImageHeader | None:
    """Step over the segments up to the frame's."""
    position = len(_JPEG)
    while encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker in _JPEG_FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", encoded, position + 4)
            return ImageHeader(width, height, channels, bits=bits)
        if marker in (0xD9, 0xDA):  # the end, or the pixels, before any frame
            return None
        is_padding = marker == 0xFF
        position += 1 if is_padding else 2 + struct.unpack_from(">H", encoded, position + 2)[0]
    return None


def _png_header(encoded: bytes) -> ImageHeader | None:
    width, height, bits, colour = struct.unpack_from(">IIBB", encoded, 16)
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour)
    if encoded[12:16] != b"IHDR" or channels is None:
        return None
    return ImageHeader(width, height, channels, has_alpha=colour in (4, 6), bits=bits)


def _webp_header(encoded: bytes) -> ImageHeader | None:
    """Read the canvas of an extended file, or the one frame of a simple one."""
    kind, body = encoded[12:16], encoded[20:30]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return ImageHeader(width & 0x3FFF, height & 0x3FFF, 3)
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", body, 1)
        width, height, alpha = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, bool(packed >> 28 & 1)
    elif kind == b"VP8X":
        width, height = (int.from_bytes(body[start : start + 3], "little") + 1 for start in (4, 7))
        alpha = bool(body[0] & 0x10)
    else:
        return None
    return ImageHeader(width, height, 3 + alpha, has_alpha=alpha)


def _bmp_header(encoded: bytes) -> ImageHeader:
    is_old = struct.unpack_from("<I", encoded, 14) == (12,)
    width, height = struct.unpack_from("<HH" if is_old else "<ii", encoded, 18)
    return ImageHeader(width, abs(height), 3)


def _tiff_header(encoded: bytes) -> ImageHeader:
    tags = _directory(encoded)

    def value(tag: int, default: int) -> int:
        return tags[tag][0] if tag in tags else default

    bits, photometric, samples = value(_BITS, 1), value(_PHOTOMETRIC, 1), value(_SAMPLES, 1)
    colours = {2: 3, 3: 1, 5: 4, 6: 3}.get(photometric, 1)
    plain = bits <= 8 or (photometric in (1, 2) and value(_PLANES, 1) == 1)
    decoded = value(_SAMPLE_FORMAT, 1) == 1 and bits in (1, 2, 4, 8, 16) and photometric in (0, 1, 2, 3, 5, 6) and plain
    return ImageHeader(
        width=tags[_WIDTH][0],
        height=tags[_HEIGHT][0],
        channels=3 if photometric == 3 else min(samples, 4),
        has_alpha=samples > colours,
        bits=bits,
        unreadable=None if decoded else "is a TIFF of floats, of LAB colours or of another kind that OpenCV misreads",
        # libtiff turns what it decodes whatever it is asked for, and multiplies 8 bits by their alpha
        neutral=tuple(
            (tags[tag][1], struct.pack(tags[tag][2], neutral))
            for tag, neutral in ((_ORIENTATION, 1), (_EXTRA_SAMPLES, 0))
            if value(tag, neutral) != neutral
        ),
    )


def _directory(tiff: bytes) -> dict[int, tuple[int, int, str]]:
    """Return value (the first), place and form of the entries of 16 and 32 bits in the first directory, by tag."""
    order = _TIFF[tiff[:4]]
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    values = {}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", tiff, entry)
        if kind not in (3, 4):
            continue
        form, place = order + ("H" if kind == 3 else "I"), entry + 8
        if number * struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(f"{order}I", tiff, place)
        values[tag] = struct.unpack_from(form, tiff, place)[0], place, form
    return values
