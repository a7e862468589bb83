"""Image files, read as the annotations see them: as stored, RGB, 8 bits, of the size they say.

The size in the header of a JPEG or PNG is compared before anything is decoded, so that a header that claims gigabytes
costs nothing. Other formats that OpenCV knows are decoded first; it refuses more than 2^30 pixels.
"""

import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from supernet.data.findings import Kind
from supernet.errors import InputError

ByteArray = npt.NDArray[np.uint8]

MAX_PIXELS = 1 << 27
"""Pixels of the largest image that is read: 134 million, 403 MB decoded."""

MAX_FILE_BYTES = 1 << 29
"""Size of the largest image file that is read."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION_TAG = 0x0112


class BadImageError(InputError):
    """An image file that cannot be used: it does not decode, or is too large."""

    kind: ClassVar[Kind] = Kind.CORRUPT_IMAGE


class MissingImageError(BadImageError):
    """An image file that cannot be opened."""

    kind = Kind.MISSING_IMAGE


class ImageSizeError(BadImageError):
    """An image file that is not of the size in the annotations."""

    kind = Kind.IMAGE_SIZE


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a JPEG or PNG says about itself.

    Attributes:
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        channels: 1 grey, 2 grey and alpha, 3 colours, 4 colours and alpha, or CMYK in a JPEG; of a palette 3.
        has_alpha: Whether one of them is alpha.
        bits: Bits a channel.
        orientation: EXIF orientation of a JPEG, 1 (upright) to 8.
    """

    width: int
    height: int
    channels: int
    has_alpha: bool = False
    bits: int = 8
    orientation: int = 1


def read_image_file(path: Path, size: tuple[int, int], *, source: str = "its entry") -> ByteArray:
    """Return an image as RGB, shape (H, W, 3).

    Grey becomes three equal channels, alpha is dropped, of 16 bits the upper 8 are kept. The EXIF orientation is
    disregarded: annotations are of the stored pixels.

    Args:
        path: The file.
        size: The (width, height) that it must have.
        source: What says so, for messages.

    Raises:
        BadImageError: If the file is missing, does not decode, or is of another size or too large.
    """
    return decode_image(path, read_bytes(path), size, source=source)


def decode_image(path: Path, encoded: bytes, size: tuple[int, int], *, source: str = "its entry") -> ByteArray:
    """Return an image from the content of its file; see ``read_image_file``.

    Raises:
        BadImageError: If it does not decode, or is of another size.
    """
    header = read_header(encoded)
    if header is not None:
        _require_size(path, (header.width, header.height), size, source, header.orientation)
    elif encoded.startswith((_PNG, _JPEG)):
        raise BadImageError(f"{path}: does not decode as an image")
    image = _decode(path, encoded)
    _require_size(path, (image.shape[1], image.shape[0]), size, source)
    return image


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        BadImageError: If it cannot be opened, is no regular file, or is larger than ``MAX_FILE_BYTES``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MissingImageError(f"{path}: cannot be read (it is no regular file)")
        if status.st_size > MAX_FILE_BYTES:
            raise BadImageError(f"{path}: has {status.st_size} bytes; at most {MAX_FILE_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise MissingImageError(f"{path}: cannot be read ({error.strerror})") from None


def read_header(encoded: bytes) -> ImageHeader | None:
    """Return what a JPEG or PNG says about itself; None if it is neither or is damaged.

    Sources: ITU-T T.81, annex B (JPEG markers); W3C PNG, section 11.2.2 (IHDR); CIPA DC-008 (EXIF).
    """
    try:
        if encoded.startswith(_PNG):
            return _png_header(encoded)
        return _jpeg_header(encoded) if encoded.startswith(_JPEG) else None
    except (IndexError, struct.error):
        return None


def _decode(path: Path, encoded: bytes) -> ByteArray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    except cv2.error:
        image = None
    if image is None:
        raise BadImageError(f"{path}: does not decode as an image")
    return image.astype(np.uint8, copy=False)


def _require_size(
    path: Path, found: tuple[int, int], wanted: tuple[int, int], source: str, orientation: int = 1
) -> None:
    if found == wanted:
        return
    turned = orientation > 4 and found == wanted[::-1]
    hint = "; annotate the pixels as stored, or store them upright: its EXIF orientation turns it" if turned else ""
    raise ImageSizeError(f"{path}: is {found[0]}x{found[1]}; {source} says {wanted[0]}x{wanted[1]}{hint}")


def _png_header(encoded: bytes) -> ImageHeader | None:
    width, height, bits, colour = struct.unpack_from(">IIBB", encoded, 16)
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(colour)
    if encoded[12:16] != b"IHDR" or channels is None:
        return None
    return ImageHeader(width, height, channels, has_alpha=colour in (4, 6), bits=bits)


def _jpeg_header(encoded: bytes) -> ImageHeader | None:
    """Step over the segments up to the frame's."""
    position, orientation = len(_JPEG), 1
    while encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", encoded, position + 4)
            return ImageHeader(width, height, channels, bits=bits, orientation=orientation)
        if marker in (0xD9, 0xDA):  # the end, or the pixels, before any frame
            return None
        (length,) = struct.unpack_from(">H", encoded, position + 2)
        if marker == 0xE1:
            orientation = _exif_orientation(encoded[position + 4 : position + 2 + length]) or orientation
        position += 2 + length
    return None


def _exif_orientation(segment: bytes) -> int | None:
    """Return the orientation in an EXIF segment, None if it has none or is damaged."""
    if not segment.startswith(b"Exif\0\0"):
        return None
    tiff = segment[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else None
    except struct.error:
        return None
    return None
