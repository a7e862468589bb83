"""Annotation files of any size, read entry by entry into arrays; whatever cannot be used is reported."""

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from litepose_ofa.supernet.data.coco.arrays import (
    Annotations,
    BoolArray,
    LongArray,
    Ragged,
)
from litepose_ofa.supernet.data.coco.categories import Categories
from litepose_ofa.supernet.data.coco.entries import (
    Person,
    Picture,
    UnusableEntryError,
    read_person,
    read_picture,
)
from litepose_ofa.supernet.data.coco.findings import (
    Finding,
    Kind,
    Report,
    raise_if_stopping,
)
from litepose_ofa.supernet.data.coco.ignore_regions import IntArray
from litepose_ofa.supernet.data.coco.json_stream import UnreadableJsonError, stream_json
from litepose_ofa.supernet.data.skeletons import Skeleton

_LISTS = ("images", "annotations", "categories")
_NO_CATEGORY = -(1 << 63)


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
        for key, position, value in stream_json(path):
            if key in _LISTS:
                reader.take(key, position, value)
    except UnreadableJsonError as error:
        report(Finding(Kind.UNREADABLE_FILE, path.name, str(error)))
        return reader.finish(complete=False)
    return reader.finish(complete=True)


class _Reader:
    """What was read so far."""

    def __init__(self, skeleton: Skeleton, report: Report) -> None:
        self.skeleton = skeleton
        self.report = report
        self.found: set[str] = set()
        self.pictures = _Pictures()
        self.people = _People()
        self.categories = Categories(skeleton)
        self.unusable: list[tuple[int, Finding]] = []

    def take(self, key: str, position: int | None, value: object) -> None:
        """Add an entry of a list, or note that the list begins."""
        if position is None:
            self.found.add(key)
            if value != []:
                self.report(Finding(Kind.UNREADABLE_FILE, key, f"{key!r} is not a list"))
            return
        try:
            if key == "images":
                self.pictures.add(read_picture(position, value))
            elif key == "annotations":
                self.people.add(read_person(position, value, self.skeleton))
            else:
                self.categories.add(position, value)
        except UnusableEntryError as error:
            category = value.get("category_id") if isinstance(value, dict) else None
            if key == "annotations" and type(category) is int:
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
        for key in _LISTS[:2]:
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
        other = self._other_categories(people)
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
            elif unknown[row]:
                message = f"annotation {entry} is of the unknown image {self.people.image_ids[row]}"
                self.report(Finding(Kind.UNKNOWN_IMAGE, entry, message))
            elif misfits[row]:
                message = f"annotation {entry}: 'segmentation' has run lengths of another image"
                self.report(Finding(Kind.BAD_ANNOTATION, entry, message))
            else:
                self.report(Finding(Kind.DUPLICATE_ANNOTATION_ID, entry, f"two annotations have the id {entry}"))
        return ~unusable

    def _used_categories(self, usable: BoolArray, people: set[int] | None) -> tuple[int, ...]:
        """Return the categories that people have, or could have; report them if they are several."""
        categories = np.asarray(self.people.categories)[usable]
        used, counts = np.unique(categories[categories != _NO_CATEGORY], return_counts=True)
        for category, count in zip(used.tolist(), counts.tolist(), strict=True):
            if len(used) > 1 and people is not None:
                message = f"category {category} is one of {len(used)} that count as person, with {count} annotations"
                self.report(Finding(Kind.SEVERAL_CATEGORIES, category, message))
        return tuple(used.tolist()) or (min(people or {1}),)

    def _other_categories(self, people: set[int] | None) -> BoolArray:
        categories = np.asarray(self.people.categories)
        if people is None:
            return np.zeros(len(categories), bool)
        return ~np.isin(categories, [*people, _NO_CATEGORY])


class _Pictures:
    """Columns of ``images``."""

    def __init__(self) -> None:
        self.ids = array("q")
        self.names: list[str] = []
        self.sizes = array("i")
        self.crowd_index = array("d")
        self._ids: set[int] = set()
        self._names: set[str] = set()

    def add(self, picture: Picture) -> None:
        if picture.id in self._ids:
            message = f"two images have the id {picture.id}"
            raise UnusableEntryError(Kind.DUPLICATE_IMAGE_ID, picture.id, message)
        if picture.file_name in self._names:
            message = f"image {picture.id} has the file of another, {picture.file_name}"
            raise UnusableEntryError(Kind.DUPLICATE_FILE, picture.id, message)
        self._ids.add(picture.id)
        self._names.add(picture.file_name)
        self.ids.append(picture.id)
        self.names.append(picture.file_name)
        self.sizes.extend((picture.width, picture.height))
        self.crowd_index.append(picture.crowd_index)


class _People:
    """Columns of ``annotations``."""

    def __init__(self) -> None:
        self.ids, self.image_ids, self.categories = array("q"), array("q"), array("q")
        self.keypoints, self.boxes, self.areas = array("f"), array("d"), array("d")
        self.crowds, self.num_keypoints = array("b"), array("i")
        self.points, self.point_ends, self.outline_owners = array("f"), array("q"), array("i")
        self.runs, self.run_ends, self.run_owners = array("i"), array("q"), array("i")

    def add(self, person: Person) -> None:
        row = len(self.ids)
        self.ids.append(person.id)
        self.image_ids.append(person.image_id)
        self.categories.append(_NO_CATEGORY if person.category is None else person.category)
        self.keypoints.extend(person.keypoints)
        self.boxes.extend(person.box)
        self.areas.append(person.area)
        self.crowds.append(person.is_crowd)
        self.num_keypoints.append(person.num_keypoints)
        for outline in person.outlines:
            self.points.extend(outline)
            self.point_ends.append(len(self.points))
            self.outline_owners.append(row)
        if person.runs is not None:
            self.runs.extend(person.runs)
            self.run_ends.append(len(self.runs))
            self.run_owners.append(row)


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
