"""Pictures as people keep them: files and folders, any depth and orientation, read one at a time.

Unlike a dataset's images, pictures are turned as their EXIF orientation says: whoever looks at the result expects that.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.image_files import BadImageError, decode_stored, read_bytes, require_header
from litepose_ofa.supernet.data.image_headers import read_orientation
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import require_regular

Image = npt.NDArray[np.uint8]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

MAX_ASPECT = 8
"""The input's short side is fixed, so a longer strip would make an input without end."""

MOST_MEGAPIXELS = 130
"""With ``MAX_ASPECT``, keeps sides below the 32,768 pixels that OpenCV can warp."""


def find_pictures(source: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the pictures of a folder, those of its subfolders too, by name; or the one file.

    Files and folders whose names begin with a dot are left out, and links to folders are not followed; ``left_out``
    counts what is passed over, by kind: a suffix, or a few words.

    Raises:
        InputError: If the source is missing, or a file that is not a picture.
    """
    passed: Counter[str] = Counter() if left_out is None else left_out
    require_regular(source)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if source.is_file():
        if _kind(source) is not None:
            raise InputError(f"{source}: is not a picture; pictures end in {', '.join(PICTURE_SUFFIXES)}")
        yield source
        return
    for folder, folders, files in os.walk(source, onerror=lambda error: passed.update(["unreadable folder"])):
        passed.update("hidden folder" for name in folders if name.startswith("."))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        passed.update("linked folder" for name in folders if Path(folder, name).is_symlink())
        for name in sorted(files):
            kind = _kind(Path(name))
            if kind is None:
                yield Path(folder, name)
            else:
                passed[kind] += 1


def _kind(path: Path) -> str | None:
    """Say what a file is by its name; None for a picture."""
    if path.name.startswith("."):
        return "hidden file"
    suffix = path.suffix.lower()
    return None if suffix in PICTURE_SUFFIXES else ascii(suffix)[1:-1] or "file without suffix"


def read_picture(path: Path, *, max_megapixels: float = 100.0) -> Image:
    """Return a picture as RGB, shape (H, W, 3), the way up that its EXIF orientation says.

    Grey becomes RGB, 16 bits become 8, transparency is dropped. A picture that is too large is refused by its header,
    before it takes memory; ``max_megapixels`` may be up to ``MOST_MEGAPIXELS``.

    Raises:
        BadImageError: If the file is missing, does not decode, is too large, or is longer than ``MAX_ASPECT`` widths.
    """
    encoded = read_bytes(path)
    header = require_header(path, encoded)
    require_picture_size(path, header.width, header.height, max_megapixels)
    return _turned(decode_stored(path, encoded, header), read_orientation(encoded))


def require_picture_size(path: Path, width: int, height: int, max_megapixels: float) -> None:
    """Raise ``BadImageError`` for a picture that is too large or too long; see ``read_picture``."""
    if width * height > max_megapixels * 1e6:
        raise BadImageError(f"{path}: is {width}x{height}; at most {max_megapixels:g} megapixels are accepted")
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        raise BadImageError(f"{path}: is {width}x{height}; a side may be at most {MAX_ASPECT} times the other")


def _turned(image: Image, orientation: int) -> Image:
    """Return an image the way up that its EXIF orientation says; OpenCV's versions differ in whose they know."""
    if orientation > 4:
        image = image.transpose(1, 0, 2)
    down, right = (-1 if orientation in mirrored else 1 for mirrored in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(image[::down, ::right])
