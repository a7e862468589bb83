"""The entries of an annotation file: what COCO allows in each, and one line that says what is wrong with one.

msgspec checks the declared types; what it would say itself names neither the entry nor the value. What cannot be used
is an ``UnusableEntryError``.
"""

import posixpath
import re
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from litepose_ofa.supernet.data.findings import Finding, Kind
from litepose_ofa.supernet.data.image_files import MAX_PIXELS
from litepose_ofa.supernet.errors import shown

COORDINATE_LIMIT = 1 << 20
"""Largest coordinate, and side of an image, in pixels: OpenCV's largest side."""

_LONGEST_NUMBER = 35
"""Bits of a compressed run length."""

Entry = TypeVar("Entry", bound=msgspec.Struct)

Id = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1, description="an integer of 64 bits")]
Side = Annotated[int, Meta(ge=1, le=COORDINATE_LIMIT, description="a positive integer of up to 2^20")]
Coordinate = Annotated[float, Meta(ge=-COORDINATE_LIMIT, le=COORDINATE_LIMIT)]
RunLength = Annotated[int, Meta(ge=0, lt=1 << 31)]
FiniteFloat = Annotated[float, Meta(gt=-1e300, lt=1e300)]
Area = Annotated[float, Meta(ge=0, lt=1e300)]
FileName = Annotated[
    str,
    Meta(pattern=r"\A[^\x00-\x1f\ud800-\udc7f\udd00-\udfff]+\Z", description="the name of a file"),
]
"""Without control characters and half surrogates, except those by which Python writes bytes that are not UTF-8."""
Box = Annotated[
    list[Coordinate],
    Meta(min_length=4, max_length=4, description="4 numbers (x, y, width, height) of up to 2^20"),
]


class ImageEntry(msgspec.Struct, rename={"crowd_index": "crowdIndex"}):
    """An entry of ``images``."""

    id: Id
    file_name: FileName
    width: Side
    height: Side
    crowd_index: Annotated[FiniteFloat | None, Meta(description="a number")] = None


class PersonEntry(msgspec.Struct):
    """An entry of ``annotations``; how many keypoints it may have is the skeleton's to say."""

    id: Id
    image_id: Id
    keypoints: Annotated[list[Coordinate] | None, Meta(description="numbers of up to 2^20")]
    bbox: Box
    category_id: Annotated[Id | None, Meta(description="an integer of 64 bits")] = None
    iscrowd: Annotated[bool | Literal[0, 1], Meta(description="0 or 1")] = 0
    area: Annotated[Area | None, Meta(description="a number of at least 0")] = None
    num_keypoints: Annotated[int | None, Meta(description="an integer")] = None
    segmentation: Any = None


class CategoryEntry(msgspec.Struct):
    """An entry of ``categories``."""

    id: Id
    keypoints: Annotated[list[str] | None, Meta(description="a list of names")] = None
    name: Any = None


class _Mask(msgspec.Struct):
    counts: list[RunLength] | str


class UnusableEntryError(Exception):
    """An entry that cannot be used; ``finding`` says why."""

    def __init__(self, kind: Kind, entry: int | str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(kind, entry, message)


def checked(model: type[Entry], kind: Kind, noun: str, where: str, entry: object) -> Entry:
    """Return an entry as its type.

    Args:
        model: The type.
        kind: The finding that a wrong entry is.
        noun: What a message calls an entry whose id is known.
        where: Its place in the file, which a message names if the id is not.
        entry: What the file holds.
    """
    try:
        return msgspec.convert(entry, model)
    except UnicodeEncodeError:
        raise UnusableEntryError(kind, where, f"{where} has a text with half a surrogate pair") from None
    except msgspec.ValidationError as error:
        raise UnusableEntryError(kind, *_fault(model, noun, where, entry, str(error))) from None


def _fault(model: type[msgspec.Struct], noun: str, where: str, entry: object, error: str) -> tuple[int | str, str]:
    """Return the id or the place of an entry that msgspec refuses, and what is wrong with it."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(model)}
    required = [name for name, field in fields.items() if field.required]
    if not isinstance(entry, dict):
        return where, f"{where} is not an object with the keys {', '.join(required)}"
    id_fits = type(entry.get("id")) is int and -(1 << 63) <= entry["id"] < 1 << 63
    named, name = (entry["id"], f"{noun} {entry['id']}") if id_fits else (where, where)
    lacking = next((key for key in required if key not in entry), None)
    if lacking is not None:
        return named, f"{name} lacks the key {lacking!r}"
    field = re.findall(r"\$\.(\w+)", error)[0]
    allowed = [part.description for part in get_args(fields[field].type) if isinstance(part, Meta)][-1]
    return named, f"{name}: {field!r} is {shown(entry[field])}; it must be {allowed}"


def checked_image(position: int, entry: object) -> ImageEntry:
    """Return an entry of ``images``, its file name normalised."""
    kind = Kind.BAD_IMAGE_ENTRY
    image = checked(ImageEntry, kind, "image", f"images[{position}]", entry)
    if image.width * image.height > MAX_PIXELS:
        message = f"image {image.id} has {image.width} x {image.height} pixels; at most {MAX_PIXELS} are read"
        raise UnusableEntryError(kind, image.id, message)
    name = posixpath.normpath(image.file_name)
    if posixpath.isabs(name) or name.split("/")[0] == ".." or name == ".":
        message = f"image {image.id}: 'file_name' is {shown(image.file_name)}; it must be in the folder of images"
        raise UnusableEntryError(Kind.OUTSIDE_FOLDER, image.id, message)
    image.file_name = name
    return image


def checked_person(position: int, entry: object, num_keypoints: int) -> tuple[PersonEntry, list[float]]:
    """Return an entry of ``annotations``, and its keypoints as 3K numbers: zeros where there are none."""
    person = checked(PersonEntry, Kind.BAD_ANNOTATION, "annotation", f"annotations[{position}]", entry)
    keypoints = person.keypoints or [0.0] * (3 * num_keypoints)
    fault = None
    if len(keypoints) != 3 * num_keypoints:
        fault = f"'keypoints' must be {3 * num_keypoints} numbers, 3 for each of {num_keypoints} keypoints"
    elif not {0, 1, 2}.issuperset(keypoints[2::3]):
        fault = "a visibility in 'keypoints' is not 0, 1 or 2"
    elif person.num_keypoints is not None and not 0 <= person.num_keypoints <= num_keypoints:
        fault = f"'num_keypoints' is {person.num_keypoints}; it must be from 0 to {num_keypoints}"
    if fault is not None:
        raise UnusableEntryError(Kind.BAD_ANNOTATION, person.id, f"annotation {person.id}: {fault}")
    return person, keypoints


def region_of(person: PersonEntry) -> tuple[list[list[float]], list[int] | None]:
    """Return where somebody is by the ``segmentation``, or by the box where it says nothing.

    Returns:
        Outlines of at least three points, x and y in turn; and COCO's run lengths, None where it is not an RLE.
    """
    try:
        region = msgspec.convert(person.segmentation, list[list[Coordinate]] | _Mask | None)
        if isinstance(region, _Mask):
            return [], _decompressed(region.counts) if isinstance(region.counts, str) else region.counts
        outlines = region or []
        if any(len(outline) % 2 for outline in outlines):
            raise ValueError("an outline is not pairs of coordinates")
    except ValueError as error:
        message = f"annotation {person.id}: 'segmentation' is neither polygons nor an RLE ({error})"
        raise UnusableEntryError(Kind.BAD_ANNOTATION, person.id, message) from None
    outlines = [outline for outline in outlines if len(outline) >= 6]
    x, y, width, height = person.bbox
    if not outlines and width > 0 and height > 0:
        outlines = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return outlines, None


def _decompressed(counts: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Source: pycocotools, ``rleFrString``. A number is a row of characters of five bits, the lowest first; the sixth bit
    says that more follow, and the last one's fifth bit is the sign. From the fourth number on, each stands for its
    difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64 or shift > _LONGEST_NUMBER:
            raise ValueError("the counts are not compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return msgspec.convert(runs, list[RunLength])
