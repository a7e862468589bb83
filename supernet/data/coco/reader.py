"""Annotation files, read entry by entry into arrays; whatever cannot be used is reported."""

import codecs
import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from litepose_ofa.supernet.data.coco.entries import (
    NO_CATEGORY,
    Categories,
    ImageColumns,
    PersonColumns,
    UnusableEntryError,
)
from litepose_ofa.supernet.data.coco.ignore_regions import IntArray
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, Annotations, BoolArray, LongArray, Ragged
from litepose_ofa.supernet.data.findings import Finding, Kind, Report, raise_if_stopping
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import require_regular


class _Key:
    """A key of the file's object: another one for every time it is there."""

    def __init__(self, name: str) -> None:
        self.name = name


_FILE = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=lambda _, name: _Key(name))
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder()


def read_records(annotations: Path, images: Path, skeleton: Skeleton) -> AnnotatedImages:
    """Read a COCO keypoints JSON in the order of its images, without a look at the image files.

    Raises:
        InputError: If the file is missing or is not COCO keypoints of this skeleton; the message names file and entry.
    """
    return AnnotatedImages(load_annotations(annotations, skeleton), images)


def load_annotations(path: Path, skeleton: Skeleton) -> Annotations:
    """Read a COCO keypoints JSON into arrays; the last few files are kept until they change.

    Raises:
        InputError: If the file is missing or is not COCO keypoints of this skeleton; the message names file and entry.
    """
    try:
        state = path.stat()
    except OSError:
        return read_annotations(path, skeleton)  # it says what is wrong
    return _loaded(path, path.absolute(), state.st_mtime_ns, state.st_size, skeleton)


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, _absolute: Path, _mtime_ns: int, _size: int, skeleton: Skeleton) -> Annotations:
    """Read a file; where it is, its time and its size are there for the cache to see a change."""
    return read_annotations(path, skeleton)


def read_annotations(path: Path, skeleton: Skeleton, report: Report = raise_if_stopping) -> Annotations:
    """Read a COCO keypoints JSON; entries that are reported as stopping or left out are not in the result.

    Args:
        path: The file.
        skeleton: The keypoints that its people must have.
        report: Called with each finding that needs no look at the image files; what it raises ends the reading.

    Raises:
        InputError: As ``report`` does; by itself at the first finding that training cannot do with, naming file and
            entry.
    """

    def report_with_path(finding: Finding) -> None:
        report(Finding(finding.kind, finding.entry, f"{path}: {finding.message}"))

    reader = _Reader(skeleton, report_with_path)
    try:
        reader.take_all(_content(path))
    except _UnreadableError as error:
        report_with_path(Finding(Kind.UNREADABLE_FILE, path.name, str(error)))
        return reader.finish(complete=False)
    return reader.finish(complete=True)


class _UnreadableError(InputError):
    """A file that is missing or is not a JSON object."""


def _content(path: Path) -> memoryview:
    try:
        require_regular(path)
        content = path.read_bytes()
    except InputError as error:
        raise _UnreadableError(str(error).removeprefix(f"{path}: ")) from None
    except FileNotFoundError:
        raise _UnreadableError("no such file") from None
    except OSError as error:
        raise _UnreadableError(f"cannot be read ({error.strerror})") from None
    return memoryview(content)[len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0 :]


def _members(content: memoryview) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object; what is a list comes as an iterator over its entries."""
    members = _decoded(content, _FILE)
    if not isinstance(members, dict):
        raise _UnreadableError("the file is not an object")
    seen = set()
    for key, value in members.items():
        name = key.name if isinstance(key, _Key) else key
        if name in seen:
            raise _UnreadableError(f"has the key {name!r} twice")
        seen.add(name)
        if isinstance(value, msgspec.Raw):
            value = _decoded(value, _LIST if bytes(memoryview(value)[:1]) == b"[" else _ENTRY)
        yield name, map(_decoded, value) if isinstance(value, list) else value


def _decoded(value: Any, decoder: "msgspec.json.Decoder[Any]" = _ENTRY) -> Any:
    """Return what JSON says; what is no JSON, yet Python's (NaN, Infinity, half a surrogate) is read by Python."""
    if not isinstance(value, memoryview | msgspec.Raw):
        return value
    try:
        try:
            return decoder.decode(value)
        except msgspec.DecodeError:
            return json.loads(str(value, "utf-8"))
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} is not UTF-8"
        raise _UnreadableError(f"is not JSON ({byte}); save it as UTF-8") from None
    except RecursionError:
        raise _UnreadableError("is not JSON that can be read (it is nested too deeply)") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise _UnreadableError(f"is not JSON ({error})") from None


class _Reader:
    """What was read so far."""

    def __init__(self, skeleton: Skeleton, report: Report) -> None:
        self.skeleton = skeleton
        self.report = report
        self.found: set[str] = set()
        self.pictures = ImageColumns()
        self.people = PersonColumns(skeleton)
        self.categories = Categories(skeleton)
        self.unusable: list[tuple[int, Finding]] = []

    def take_all(self, content: memoryview) -> None:
        """Add what a file holds."""
        for key, value in _members(content):
            self._take(key, value)

    def _take(self, key: str, value: Any) -> None:
        lists: dict[str, ImageColumns | PersonColumns | Categories] = {
            "images": self.pictures,
            "annotations": self.people,
            "categories": self.categories,
        }
        columns = lists.get(key)
        if columns is None:
            return
        self.found.add(key)
        if not isinstance(value, Iterator):
            self.report(Finding(Kind.UNREADABLE_FILE, key, f"{key!r} is not a list"))
            return
        for position, entry in enumerate(value):
            try:
                columns.add(position, entry)
            except UnusableEntryError as error:
                category = entry.get("category_id") if isinstance(entry, dict) else None
                if columns is self.people and type(category) is int:
                    self.unusable.append((category, error.finding))  # the categories may follow, and it be no person's
                else:
                    self.report(error.finding)

    def finish(self, *, complete: bool) -> Annotations:
        """Compare the parts of the file with one another, and return what can be used.

        Args:
            complete: Whether the file was read to its end.
        """
        if complete:
            self._require_lists()
        people = self._person_categories()
        for category, finding in self.unusable:
            if people is None or category in people or category not in self.categories:
                self.report(finding)
            else:
                self._report_category(finding.entry, category)
        content = self._arrays()
        usable = self._usable(content, people)
        content = replace(content, categories=self._used_categories(usable, people))
        return content if usable.all() else content.only(usable)

    def _require_lists(self) -> None:
        for key in ("images", "annotations"):
            if key not in self.found:
                self.report(Finding(Kind.UNREADABLE_FILE, key, f"the file lacks the key {key!r}"))
        if "images" in self.found and not self.pictures.ids:
            self.report(Finding(Kind.UNREADABLE_FILE, "images", "'images' is empty"))

    def _person_categories(self) -> set[int] | None:
        """Return the categories of people; None if any will do."""
        if not self.categories:
            return None
        other_names = self.categories.other_names()
        if other_names is not None:
            self.report(other_names)
        try:
            return self.categories.people()
        except UnusableEntryError as error:
            self.report(error.finding)
            return None

    def _report_category(self, entry: int | str, category: int) -> None:
        name = f"annotation {entry} is of the category {category}, which"
        if category in self.categories:
            self.report(Finding(Kind.OTHER_CATEGORY, entry, f"{name} has other keypoints or none"))
        else:
            self.report(Finding(Kind.UNKNOWN_CATEGORY, entry, f"{name} 'categories' does not have"))

    def _arrays(self) -> Annotations:
        pictures, people = self.pictures, self.people
        image_ids = np.asarray(pictures.ids)
        return Annotations(
            skeleton=self.skeleton,
            image_ids=image_ids,
            file_names=pictures.names,
            sizes=np.asarray(pictures.sizes).reshape(-1, 2),
            crowd_index=np.asarray(pictures.crowd_index),
            ids=np.asarray(people.ids),
            images=_places(np.asarray(people.image_ids), image_ids),
            keypoints=np.asarray(people.keypoints).reshape(-1, self.skeleton.num_keypoints, 3),
            boxes=np.asarray(people.boxes).reshape(-1, 4),
            areas=np.asarray(people.areas),
            crowds=np.asarray(people.crowds).astype(bool),
            num_keypoints=np.asarray(people.num_keypoints),
            outlines=Ragged(np.asarray(people.points), np.asarray(people.point_ends)),
            outline_owners=np.asarray(people.outline_owners),
            runs=Ragged(np.asarray(people.runs), np.asarray(people.run_ends)),
            run_owners=np.asarray(people.run_owners),
        )

    def _usable(self, content: Annotations, people: set[int] | None) -> BoolArray:
        """Report annotations of other categories, of unknown images, with taken ids and with masks of other images."""
        categories = np.asarray(self.people.categories)
        other = np.zeros(len(categories), bool)
        if people is not None:
            other = ~np.isin(categories, [*people, NO_CATEGORY])
        unknown = content.images < 0
        misfits = np.zeros(len(content.ids), bool)
        misfits[_misfits(content)] = True
        repeated = np.ones(len(content.ids), bool)
        repeated[np.unique(content.ids, return_index=True)[1]] = False
        unusable = other | unknown | misfits | repeated
        for row in np.flatnonzero(unusable).tolist():
            entry = int(content.ids[row])
            if other[row]:
                self._report_category(entry, self.people.categories[row])
                continue
            if unknown[row]:
                kind = Kind.UNKNOWN_IMAGE
                message = f"annotation {entry} is of the unknown image {self.people.image_ids[row]}"
            elif misfits[row]:
                kind = Kind.BAD_ANNOTATION
                message = f"annotation {entry}: 'segmentation' has run lengths of another image"
            else:
                kind, message = Kind.DUPLICATE_ANNOTATION_ID, f"two annotations have the id {entry}"
            self.report(Finding(kind, entry, message))
        return ~unusable

    def _used_categories(self, usable: BoolArray, people: set[int] | None) -> tuple[int, ...]:
        """Return the categories that people have, or could have; report them if they are several."""
        categories = np.asarray(self.people.categories)[usable]
        used, counts = np.unique(categories[categories != NO_CATEGORY], return_counts=True)
        for category, count in zip(used.tolist(), counts.tolist(), strict=True):
            if len(used) > 1 and people is not None:
                message = f"category {category} is one of {len(used)} that count as person, with {count} annotations"
                self.report(Finding(Kind.SEVERAL_CATEGORIES, category, message))
        return tuple(used.tolist()) or (min(people or {1}),)


def _places(ids: LongArray, known: LongArray) -> IntArray:
    """Return where each id is in ``known``, -1 if nowhere."""
    if not len(known):
        return np.full(len(ids), -1, np.int32)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[places] == ids, places, -1).astype(np.int32)


def _misfits(content: Annotations) -> list[int]:
    """Return the annotations, by their places, whose run lengths are not of as many pixels as their image."""
    rows = []
    for mask, row in enumerate(content.run_owners.tolist()):
        image = content.images[row]
        if image >= 0 and content.runs[mask].sum(dtype=np.int64) != content.sizes[image].prod(dtype=np.int64):
            rows.append(row)
    return rows
