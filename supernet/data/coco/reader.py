"""Annotation files, read entry by entry into arrays; whatever cannot be used is reported."""

import codecs
import functools
import json
import logging
import math
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from litepose_ofa.supernet.data.coco.entries import (
    CategoryEntry,
    UnusableEntryError,
    checked,
    checked_image,
    checked_person,
    region_of,
)
from litepose_ofa.supernet.data.coco.records import Annotations, BoolArray, IntArray, LongArray, Regions, repeats
from litepose_ofa.supernet.data.findings import Finding, Kind, Report, raise_if_stopping
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_content

logger = logging.getLogger(__name__)

NO_CATEGORY = -(1 << 63)

_FILE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder()


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
    return read_annotations(path, skeleton, _raise_or_tell)


def _raise_or_tell(finding: Finding) -> None:
    raise_if_stopping(finding)
    if finding.kind is Kind.KEYPOINT_ORDER:
        logger.info("%s", finding.message)


def read_annotations(path: Path, skeleton: Skeleton, report: Report = raise_if_stopping) -> Annotations:
    """Read a COCO keypoints JSON; entries that are reported as stopping or left out are not in the result.

    Args:
        path: The file.
        skeleton: The keypoints that its people must have.
        report: Called with each finding that needs no look at the image files; what it raises ends the reading. By
            default that is an ``InputError`` at the first finding that training cannot do with.
    """

    def report_with_path(finding: Finding) -> None:
        report(Finding(finding.kind, finding.entry, f"{path}: {finding.message}"))

    reader = _Reader(skeleton, report_with_path)
    try:
        for key, value in _members(path):
            reader.take(key, value)
        complete = True
    except _UnreadableError as error:
        report_with_path(Finding(Kind.UNREADABLE_FILE, path.name, str(error)))
        complete = False
    return reader.finish(complete=complete)


class _UnreadableError(InputError):
    """A file that is missing or is not a JSON object."""


def _members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the members of a file's object; what is a list comes as an iterator over its entries."""
    try:
        content = read_content(path)
    except InputError as error:
        raise _UnreadableError(str(error).removeprefix(f"{path}: ")) from None
    members = _decoded(memoryview(content.removeprefix(codecs.BOM_UTF8)), _FILE)
    if not isinstance(members, dict):
        raise _UnreadableError("the file is not an object")
    for key, value in members.items():
        if isinstance(value, msgspec.Raw):
            value = _decoded(value, _LIST if bytes(memoryview(value)[:1]) == b"[" else _ENTRY)
        yield key, map(_decoded, value) if isinstance(value, list) else value


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
    """What was read so far, in columns: a million people as objects would take many gigabytes."""

    def __init__(self, skeleton: Skeleton, report: Report) -> None:
        self.skeleton = skeleton
        self.report = report
        self.take_entry = {
            "images": self._take_image,
            "annotations": self._take_person,
            "categories": self._take_category,
        }
        self.found: set[str] = set()
        self.images = _columns(ids="q", sizes="i", crowd_index="d")
        self.people = _columns(
            ids="q", images="q", categories="q", keypoints="f", boxes="d", areas="d", crowds="b", num_keypoints="i"
        )
        self.regions = _columns(values="d", ends="q", owners="i", are_masks="b")
        self.image_ids: set[int] = set()
        self.file_names: dict[str, None] = {}
        self.categories: dict[int, CategoryEntry] = {}
        self.orders: dict[int, list[int]] = {}
        self.unusable: list[tuple[int, Finding]] = []

    def take(self, key: str, value: Any) -> None:
        """Add a member of the file's object."""
        if key not in self.take_entry:
            return
        self.found.add(key)
        if not isinstance(value, Iterator):
            self.report(Finding(Kind.UNREADABLE_FILE, key, f"{key!r} is not a list"))
            return
        for position, entry in enumerate(value):
            try:
                self.take_entry[key](position, entry)
            except UnusableEntryError as error:
                category = entry.get("category_id") if isinstance(entry, dict) else None
                if key == "annotations" and type(category) is int:
                    self.unusable.append((category, error.finding))  # the categories may follow, and it be no person's
                else:
                    self.report(error.finding)

    def _take_image(self, position: int, entry: object) -> None:
        image = checked_image(position, entry)
        if image.id in self.image_ids:
            raise UnusableEntryError(Kind.DUPLICATE_IMAGE_ID, image.id, f"two images have the id {image.id}")
        if image.file_name in self.file_names:
            message = f"image {image.id} has the file of another, {image.file_name}"
            raise UnusableEntryError(Kind.DUPLICATE_FILE, image.id, message)
        self.image_ids.add(image.id)
        self.file_names[image.file_name] = None
        self.images["ids"].append(image.id)
        self.images["sizes"].extend((image.width, image.height))
        self.images["crowd_index"].append(math.nan if image.crowd_index is None else image.crowd_index)

    def _take_person(self, position: int, entry: object) -> None:
        person, keypoints = checked_person(position, entry, self.skeleton.num_keypoints)
        labelled = self.skeleton.num_keypoints - keypoints[2::3].count(0)
        if person.iscrowd or not labelled:
            self._take_regions(*region_of(person))
        columns = self.people
        columns["ids"].append(person.id)
        columns["images"].append(person.image_id)
        columns["categories"].append(NO_CATEGORY if person.category_id is None else person.category_id)
        columns["keypoints"].extend(keypoints)
        columns["boxes"].extend(person.bbox)
        columns["areas"].append(math.nan if person.area is None else person.area)
        columns["crowds"].append(person.iscrowd)
        columns["num_keypoints"].append(labelled if person.num_keypoints is None else person.num_keypoints)

    def _take_regions(self, outlines: list[list[float]], runs: list[int] | None) -> None:
        for region in outlines if runs is None else [runs]:
            self.regions["values"].extend(region)
            self.regions["ends"].append(len(self.regions["values"]))
            self.regions["owners"].append(len(self.people["ids"]))
            self.regions["are_masks"].append(runs is not None)

    def _take_category(self, position: int, entry: object) -> None:
        where = f"categories[{position}]"
        category = checked(CategoryEntry, Kind.BAD_CATEGORIES, "category", where, entry)
        self.categories[category.id] = category

    def finish(self, *, complete: bool) -> Annotations:
        """Compare the parts of the file with one another, and return what can be used.

        Args:
            complete: Whether the file was read to its end.
        """
        if complete:
            for key in ("images", "annotations"):
                if key not in self.found:
                    self.report(Finding(Kind.UNREADABLE_FILE, key, f"the file lacks the key {key!r}"))
            if "images" in self.found and not self.image_ids:
                self.report(Finding(Kind.UNREADABLE_FILE, "images", "'images' is empty"))
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

    def _person_categories(self) -> set[int] | None:
        """Return the ids of the categories whose annotations are people of the skeleton; None if any will do.

        Those with the skeleton's number of keypoints; where none has keypoints, those named "person"; else all.
        """
        expected, name = list(self.skeleton.keypoints), self.skeleton.name
        posed = {category.id: category.keypoints for category in self.categories.values() if category.keypoints}
        fitting = {category: names for category, names in posed.items() if len(names) == len(expected)}
        if posed and not fitting:
            counts = " or ".join(sorted({str(len(names)) for names in posed.values()}))
            message = f"'categories' has {counts} keypoints; {name} has {len(expected)}"
            self.report(Finding(Kind.BAD_CATEGORIES, "categories", message))
            return None
        named = {category: names for category, names in fitting.items() if set(names) == set(expected)}
        if fitting and not named:
            names = next(iter(fitting.values()))
            own, other = next(pair for pair in zip(expected, names, strict=True) if pair[0] != pair[1])
            message = f"'categories' has the keypoint {other!r} where {name} has {own!r}"
            self.report(Finding(Kind.OTHER_KEYPOINT_NAMES, "categories", message))
        self._take_orders(named)
        persons = {category.id for category in self.categories.values() if category.name == "person"}
        return set(fitting) or persons or set(self.categories) or None

    def _take_orders(self, named: dict[int, list[str]]) -> None:
        """Note where categories with the skeleton's names have each; who has no category is of the first."""
        expected = list(self.skeleton.keypoints)
        for category, names in named.items():
            order = [names.index(name) for name in expected]
            self.orders[category] = order
            self.orders.setdefault(NO_CATEGORY, order)
            if names != expected:
                message = f"category {category} has the keypoints of {self.skeleton.name} in another order"
                self.report(Finding(Kind.KEYPOINT_ORDER, category, f"{message}: they are matched by name"))

    def _report_category(self, entry: int | str, category: int) -> None:
        name = f"annotation {entry} is of the category {category}, which"
        if category in self.categories:
            self.report(Finding(Kind.OTHER_CATEGORY, entry, f"{name} has other keypoints or none"))
        else:
            self.report(Finding(Kind.UNKNOWN_CATEGORY, entry, f"{name} 'categories' does not have"))

    def _arrays(self) -> Annotations:
        images, people, regions = (
            {name: np.asarray(column) for name, column in columns.items()}
            for columns in (self.images, self.people, self.regions)
        )
        keypoints = people["keypoints"].reshape(-1, self.skeleton.num_keypoints, 3)
        for category, order in self.orders.items():
            if order != sorted(order):
                chosen = people["categories"] == category
                keypoints[chosen] = keypoints[chosen][:, order]
        return Annotations(
            skeleton=self.skeleton,
            image_ids=images["ids"],
            file_names=list(self.file_names),
            sizes=images["sizes"].reshape(-1, 2),
            crowd_index=images["crowd_index"],
            ids=people["ids"],
            images=_places(people["images"], images["ids"]),
            keypoints=keypoints,
            boxes=people["boxes"].reshape(-1, 4),
            areas=people["areas"],
            crowds=people["crowds"].astype(bool),
            num_keypoints=people["num_keypoints"],
            regions=Regions(**{**regions, "are_masks": regions["are_masks"].astype(bool)}),
        )

    def _usable(self, content: Annotations, people: set[int] | None) -> BoolArray:
        """Report annotations of other categories, of unknown images, with taken ids and with masks of other images."""
        categories = np.asarray(self.people["categories"])
        other = np.zeros(len(categories), bool) if people is None else ~np.isin(categories, [*people, NO_CATEGORY])
        misfits = np.zeros(len(content.ids), bool)
        misfits[_misfits(content)] = True
        unusable = other | (content.images < 0) | misfits | repeats(content.ids)
        for row in np.flatnonzero(unusable).tolist():
            entry, kind = int(content.ids[row]), Kind.BAD_ANNOTATION
            if other[row]:
                self._report_category(entry, self.people["categories"][row])
                continue
            if content.images[row] < 0:
                kind = Kind.UNKNOWN_IMAGE
                message = f"annotation {entry} is of the unknown image {self.people['images'][row]}"
            elif misfits[row]:
                message = f"annotation {entry}: 'segmentation' has run lengths of another image"
            else:
                kind, message = Kind.DUPLICATE_ANNOTATION_ID, f"two annotations have the id {entry}"
            self.report(Finding(kind, entry, message))
        return ~unusable

    def _used_categories(self, usable: BoolArray, people: set[int] | None) -> tuple[int, ...]:
        """Return the categories that people have, or could have; report them if they are several."""
        categories = np.asarray(self.people["categories"])[usable]
        used, counts = np.unique(categories[categories != NO_CATEGORY], return_counts=True)
        for category, count in zip(used.tolist(), counts.tolist(), strict=True):
            if len(used) > 1 and people is not None:
                message = f"category {category} is one of {len(used)} that count as person, with {count} annotations"
                self.report(Finding(Kind.SEVERAL_CATEGORIES, category, message))
        return tuple(used.tolist()) or (min(people or {1}),)


def _columns(**type_codes: str) -> dict[str, "array[Any]"]:
    return {name: array(code) for name, code in type_codes.items()}


def _places(ids: LongArray, known: LongArray) -> IntArray:
    """Return where each id is in ``known``, -1 if nowhere."""
    if not len(known):
        return np.full(len(ids), -1, np.int32)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return np.where(known[places] == ids, places, -1).astype(np.int32)


def _misfits(content: Annotations) -> list[int]:
    """Return the annotations, by their places, whose run lengths are not of as many pixels as their image."""
    regions, pixels = content.regions, content.sizes.prod(axis=1, dtype=np.int64)
    masks = ((i, regions.owners[i]) for i in np.flatnonzero(regions.are_masks).tolist())
    return [row for i, row in masks if content.images[row] >= 0 and regions[i].sum() != pixels[content.images[row]]]
