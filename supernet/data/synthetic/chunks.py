"""Finished parts of a split that is being rendered, kept so that a killed run goes on where it was.

A chunk is a JSON file with what its images were rendered from, the hash of every image file, and their entries. It is
believed only if all of that still holds.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json, write_text

Entries = tuple[dict[str, Any], list[dict[str, Any]]]
"""An image and its people as they stand in the annotation JSON."""


@dataclass(frozen=True, slots=True)
class ChunkStore:
    """The finished chunks of one split.

    Attributes:
        folder: Where the chunks are; gone when the split is finished.
        images: Folder of the image files.
        rendered_by: Digest of all that the images depend on.
    """

    folder: Path
    images: Path
    rendered_by: str

    def save(self, numbers: Sequence[int], entries: Sequence[Entries]) -> None:
        """Keep the entries of a chunk's images, whose files are written."""
        content = {
            "rendered_by": self.rendered_by,
            "numbers": list(numbers),
            "sha256": {picture["file_name"]: file_digest(self.images / picture["file_name"]) for picture, _ in entries},
            "entries": entries,
        }
        write_text(self._path(numbers), json.dumps(content))

    def load(self, numbers: Sequence[int]) -> list[Entries] | None:
        """Return the entries of a chunk's images, or None if it is not there or anything about it has changed."""
        try:
            content = read_json(self._path(numbers))
            if (content["rendered_by"], content["numbers"]) != (self.rendered_by, list(numbers)):
                return None
            for name, digest in content["sha256"].items():
                if not (self.images / name).is_file() or file_digest(self.images / name) != digest:
                    return None
            return [(picture, people) for picture, people in content["entries"]]
        except (InputError, AttributeError, KeyError, TypeError, ValueError):  # absent, or not as it was written
            return None

    def _path(self, numbers: Sequence[int]) -> Path:
        return self.folder / f"{numbers[0]:06d}.json"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
