"""The categories of an annotation file: which of its annotations are people of the skeleton."""

from litepose_ofa.supernet.data.coco.entries import UnusableEntryError, is_id, require_object
from litepose_ofa.supernet.data.coco.findings import Finding, Kind
from litepose_ofa.supernet.data.skeletons import Skeleton


class Categories:
    """The categories of a file, of which some have the skeleton's keypoints.

    Args:
        skeleton: The keypoints to look for.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton
        self._keypoints: dict[int, list[str] | None] = {}
        self._names: dict[int, object] = {}

    def add(self, position: int, entry: object) -> None:
        """Check an entry of ``categories``.

        Raises:
            UnusableEntryError: If it cannot be used.
        """
        where = f"categories[{position}]"
        values = require_object(Kind.BAD_CATEGORIES, where, entry, ("id",))
        keypoints = values.get("keypoints")
        named = isinstance(keypoints, list) and all(isinstance(name, str) for name in keypoints)
        if not is_id(values["id"]) or not (keypoints is None or named):
            message = f"{where} must have an integer as its id, and names as its keypoints or none"
            raise UnusableEntryError(Kind.BAD_CATEGORIES, where, message)
        self._keypoints[values["id"]] = keypoints
        self._names[values["id"]] = values.get("name")

    def __contains__(self, category: int) -> bool:
        return category in self._keypoints

    def __bool__(self) -> bool:
        return bool(self._keypoints)

    def people(self) -> set[int]:
        """Return the ids of those whose annotations are people of the skeleton.

        Those with the skeleton's number of keypoints; where none has keypoints, those named "person"; else all.

        Raises:
            UnusableEntryError: If there are keypoints, but of another number.
        """
        posed = {category: names for category, names in self._keypoints.items() if names}
        fitting = {category for category, names in posed.items() if len(names) == self._skeleton.num_keypoints}
        if posed and not fitting:
            counts = " or ".join(sorted({str(len(names)) for names in posed.values()}))
            message = f"'categories' has {counts} keypoints; {self._skeleton.name} has {self._skeleton.num_keypoints}"
            raise UnusableEntryError(Kind.BAD_CATEGORIES, "categories", message)
        persons = {category for category, name in self._names.items() if name == "person"}
        return fitting or persons or set(self._keypoints)

    def other_names(self) -> Finding | None:
        """Return a finding if no category has the skeleton's names, in its order."""
        posed = [names for names in self._keypoints.values() if names]
        own = list(self._skeleton.keypoints)
        if not posed or own in posed:
            return None
        fitting = next((names for names in posed if len(names) == len(own)), [])
        first = next((pair for pair in zip(own, fitting, strict=False) if pair[0] != pair[1]), None)
        if first is None:
            return None
        message = f"'categories' has the keypoint {first[1]!r} where {self._skeleton.name} has {first[0]!r}"
        return Finding(Kind.OTHER_KEYPOINT_NAMES, "categories", message)
