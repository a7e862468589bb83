"""What can be wrong with a dataset, what is done about each, and the record of what was found.

A reader reports ``Finding``s to a callable: ``raise_if_stopping`` ends the reading at the first that training cannot do
with, ``FindingLog`` counts them all.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from litepose_ofa.supernet.errors import InputError


class Effect(Enum):
    """What a finding means for training."""

    STOPS = "stops"
    LEFT_OUT = "left out"
    USED = "used"


class Kind(Enum):
    """A kind of finding: its effect, what it is, and what is done."""

    UNREADABLE_FILE = Effect.STOPS, "the annotations are missing, are no JSON or have no images"
    BAD_IMAGE_ENTRY = Effect.STOPS, "an entry of 'images' lacks a key, or a value has the wrong type or range"
    OUTSIDE_FOLDER = Effect.STOPS, "a file_name is absolute or leads out of the folder of images"
    DUPLICATE_IMAGE_ID = Effect.STOPS, "an image has the id of an earlier one"
    DUPLICATE_FILE = Effect.STOPS, "an image has the file of an earlier one"
    BAD_ANNOTATION = Effect.STOPS, "an entry of 'annotations' lacks a key, or a value has the wrong type or range"
    DUPLICATE_ANNOTATION_ID = Effect.STOPS, "an annotation has the id of an earlier one"
    UNKNOWN_IMAGE = Effect.STOPS, "an annotation is of an image that the file does not have"
    BAD_CATEGORIES = Effect.STOPS, "'categories' is malformed, or none of them has the skeleton's number of keypoints"
    UNKNOWN_CATEGORY = Effect.STOPS, "an annotation is of a category that the file does not have"
    MISSING_IMAGE = Effect.STOPS, "an image file cannot be opened"
    CORRUPT_IMAGE = Effect.STOPS, "an image file does not decode, is of a format that is not read, or is too large"
    IMAGE_SIZE = Effect.STOPS, "an image file is not of the size in the annotations"
    SHARED_IMAGE = Effect.STOPS, "an image file is in two splits"
    OTHER_CATEGORY = Effect.LEFT_OUT, "an annotation is of a category without the skeleton's keypoints: no person"
    SAME_PICTURE = Effect.USED, "two image files have the same content"
    OTHER_KEYPOINT_NAMES = (
        Effect.USED,
        "the file names the keypoints otherwise than the skeleton does: is the order right?",
    )
    KEYPOINT_ORDER = (
        Effect.USED,
        "the file lists the skeleton's keypoints in another order: matched by name; results have the skeleton's order",
    )
    SEVERAL_CATEGORIES = (
        Effect.USED,
        "several categories have the skeleton's keypoints: they count as one class, person; COCOeval would not",
    )
    ODD_AREA = Effect.USED, "an area that nobody in such a box with such keypoints has: AP by it means nothing"
    NORMALISED = Effect.USED, "keypoints that are all between 0 and 1: they must be in pixels"
    KEYPOINT_AT_ORIGIN = (
        Effect.USED,
        "a keypoint at (0, 0) is marked as labelled: if nobody did, its visibility must be 0",
    )
    KEYPOINTS_ELSEWHERE = Effect.USED, "labelled keypoints that are all outside of the person's box, or of the image"
    CORNER_BOX = Effect.USED, "a box that leaves the image, but fits as corners: it must be x, y, width, height"
    SAME_PERSON = Effect.USED, "a person with the image and the keypoints of an earlier one: evaluation looks for both"
    ID_ZERO = Effect.USED, "an annotation has the id 0: pycocotools counts it as never found"
    NOBODY = Effect.USED, "an image has no annotation: evaluated, not trained on"
    WITHOUT_KEYPOINTS = Effect.USED, "a person without labelled keypoints: masked in the loss"
    CROWD = Effect.USED, "a crowd: masked in the loss"
    EMPTY_BOX = Effect.USED, "a box without area: masks nothing; where the box gives the area, no prediction matches"
    NO_AREA = Effect.USED, "a person without an area: trained on, but evaluation by the annotations' area needs it"
    KEYPOINT_OUTSIDE = (
        Effect.USED,
        "a labelled keypoint is outside of the image: used as it is, where the input shows it",
    )
    KEYPOINT_COUNT = Effect.USED, "num_keypoints is not the number of labelled keypoints: evaluation goes by it"
    GREY = Effect.USED, "a grey image: read as three equal channels"
    ALPHA = Effect.USED, "an image with transparency: the alpha channel is dropped"
    SIXTEEN_BIT = Effect.USED, "an image of 16 bits a channel: the upper 8 are read"
    TURNED = Effect.USED, "an image with an EXIF orientation: read as stored, as the annotations' size says"

    def __init__(self, effect: Effect, meaning: str) -> None:
        self.effect = effect
        self.meaning = meaning


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        kind: What it is.
        entry: The id of the image or annotation, or its place in the file where it has none.
        message: One line that names the entry and, where a value is wrong, says what is allowed.
    """

    kind: Kind
    entry: int | str
    message: str


Report = Callable[[Finding], object]


def raise_if_stopping(finding: Finding) -> None:
    """Raise a finding's message as ``InputError`` if training cannot do with it."""
    if finding.kind.effect is Effect.STOPS:
        raise InputError(finding.message)


@dataclass
class FindingLog:
    """Counts findings by kind and keeps the first of each.

    Attributes:
        kept: Most entries of a kind whose ids are kept.
        counts: Number of findings of each kind that was found.
        entries: Ids of the first ``kept`` of each kind.
        examples: The first message of each kind.
    """

    kept: int = 10_000
    counts: Counter[Kind] = field(default_factory=Counter)
    entries: dict[Kind, list[int | str]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[Kind, str] = field(default_factory=dict)

    def __call__(self, finding: Finding) -> None:
        """Add a finding."""
        self.counts[finding.kind] += 1
        self.examples.setdefault(finding.kind, finding.message)
        if self.counts[finding.kind] <= self.kept:
            self.entries[finding.kind].append(finding.entry)

    def kinds(self) -> list[Kind]:
        """Return what was found, in the order of ``Kind``: what stops a training first."""
        return [kind for kind in Kind if kind in self.counts]

    def stopping(self, *, tolerated: Iterable[Kind] = ()) -> list[Kind]:
        """Return what was found that stops a training, except kinds that it skips over."""
        return [kind for kind in self.kinds() if kind.effect is Effect.STOPS and kind not in set(tolerated)]

    def to_dict(self) -> dict[str, Any]:
        """Return counts, ids, effect, meaning and first message by the kind's name."""
        return {
            kind.name.lower(): {
                "effect": kind.effect.value,
                "count": self.counts[kind],
                "entries": self.entries[kind],
                "first": self.examples[kind],
                "meaning": kind.meaning,
            }
            for kind in self.kinds()
        }
