"""Image files, read as the annotations see them: as stored, RGB, 8 bits, of the size they say.

JPEG, PNG, WebP, TIFF and BMP are read: of what else OpenCV knows, it returns some with exchanged colours, and what it
knows differs by its version. The size in the header is compared before anything is decoded.
"""

import stat
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.findings import Kind
from litepose_ofa.supernet.data.image_headers import FORMATS, ImageHeader, foreign_format, read_header, read_orientation
from litepose_ofa.supernet.errors import InputError

ByteArray = npt.NDArray[np.uint8]

MAX_PIXELS = 1 << 27
"""Pixels of the largest image that is read: 134 million, 403 MB decoded."""

MAX_FILE_BYTES = 1 << 29
"""Size of the largest image file that is read."""

MAX_SIDE = 32_766
"""Pixels of the longest side that is read: before 5.0, OpenCV warps no more."""


class BadImageError(InputError):
    """An image file that cannot be used: it cannot be opened, does not decode, is too large or of another size."""

    def __init__(self, message: str, kind: Kind = Kind.CORRUPT_IMAGE) -> None:
        super().__init__(message)
        self.kind = kind


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
    """Return an image from the content of its file; see ``read_image_file``."""
    header = require_header(path, encoded)
    found = header.width, header.height
    if found != size:
        turned = read_orientation(encoded) > 4 and found == size[::-1]
        hint = "; annotate the pixels as stored, or store them upright: its EXIF orientation turns it" if turned else ""
        message = f"{path}: is {found[0]}x{found[1]}; {source} says {size[0]}x{size[1]}{hint}"
        raise BadImageError(message, Kind.IMAGE_SIZE)
    if max(size) > MAX_SIDE:
        raise BadImageError(f"{path}: is {size[0]}x{size[1]}; a side may be at most {MAX_SIDE} pixels")
    image = decode_stored(path, encoded, header)
    if (image.shape[1], image.shape[0]) != size:
        raise BadImageError(f"{path}: does not decode as an image")
    return image


def require_header(path: Path, encoded: bytes) -> ImageHeader:
    """Return what an image file says about itself."""
    header = read_header(encoded)
    if header is None:
        other = foreign_format(encoded)
        reason = "does not decode as an image" if other is None else f"is {other}; {FORMATS} are read"
        raise BadImageError(f"{path}: {reason}")
    if header.unreadable is not None:
        raise BadImageError(f"{path}: {header.unreadable}; convert it to PNG")
    return header


def decode_stored(path: Path, encoded: bytes, header: ImageHeader) -> ByteArray:
    """Return the pixels as they are stored, RGB, shape (H, W, 3), whatever the orientation."""
    content = np.frombuffer(encoded, np.uint8)
    for place, value in header.neutral:
        content = content.copy()
        content[place : place + len(value)] = list(value)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise BadImageError(f"{path}: does not decode as an image")
    return image.astype(np.uint8, copy=False)


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        BadImageError: If it cannot be opened, is not a regular file, or is larger than ``MAX_FILE_BYTES``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadImageError(f"{path}: cannot be read (it is not a regular file)", Kind.MISSING_IMAGE)
        if status.st_size > MAX_FILE_BYTES:
            raise BadImageError(f"{path}: has {status.st_size} bytes; at most {MAX_FILE_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        hint = "; folders in a file_name are separated by /, not by backslashes" if "\\" in path.name else ""
        raise BadImageError(f"{path}: cannot be read ({error.strerror}){hint}", Kind.MISSING_IMAGE) from None
