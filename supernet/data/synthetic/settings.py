"""What rendered images show, as a checked value."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from litepose_ofa.supernet.errors import InputError, require

Placement = Literal["random", "annotated"]

NARROWEST_CROWDING = 0.1
"""Two people's crowd index moves in steps of one keypoint, about 0.07."""


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """What the images show.

    Attributes:
        image_size: Width and height in pixels.
        people: Least and most labelled people an image; one who finds no room is left out, but never the first.
        person_height: Least and largest longer side of a person's keypoint extent, over the image's height.
        log_heights: Draw heights evenly on a logarithmic scale, so that small people are as frequent as large ones.
        max_overlap: Most that two people's extents share, over the smaller extent; idle where ``crowd_index`` is given.
        crowd_index: Ranges of an image's crowd index, (low, high) with low included, of which each image draws one;
            none means as it comes. People come together, move apart or are left out until it holds.
        placement: ``random``, or ``annotated``: each image has the people of one annotated image where they are there.
        truncated: Probability that someone sticks out of the image.
        crowd_regions: Probability of a distant crowd that is masked (``iscrowd``) instead of labelled.
        from_behind: Probability that someone faces away, for poses of kinematics.
        yaw_degrees: Largest turn from facing the camera, or from facing away, for poses of kinematics.
        lean_degrees: Largest sideways lean, for poses of kinematics.
        varied_looks: Skins, clothes with patterns, hair, shoes and limb widths instead of plain figures.
        self_occlusion: Label a joint hidden that a nearer part of the same body covers, and complete annotated poses.
        clutter: 0 for a plain background to 1 for one full of textures, shapes and limbs of nobody.
        grain: Noise on the finished image, up to this many grey levels either way.
        jpeg_quality: 1 to 100.

    Raises:
        InputError: If a value is impossible; the message names the field.
    """

    image_size: tuple[int, int] = (160, 160)
    people: tuple[int, int] = (1, 2)
    person_height: tuple[float, float] = (0.6, 0.95)
    log_heights: bool = False
    max_overlap: float = 0.4
    crowd_index: tuple[tuple[float, float], ...] = ()
    placement: Placement = "random"
    truncated: float = 0.0
    crowd_regions: float = 0.0
    from_behind: float = 0.0
    yaw_degrees: float = 45.0
    lean_degrees: float = 12.0
    varied_looks: bool = False
    self_occlusion: bool = False
    clutter: float = 0.0
    grain: int = 6
    jpeg_quality: int = 92

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from a config: lists are tuples, and one number for ``image_size`` means a square.

        Raises:
            InputError: If a key is unknown or a value is impossible.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"people settings have the unknown key {key!r}; the keys are {', '.join(known)}")
        plain = {key: _as_tuple(value) for key, value in values.items()}
        if isinstance(plain.get("image_size"), int):
            plain["image_size"] = (plain["image_size"], plain["image_size"])
        return cls(**plain)

    def __post_init__(self) -> None:
        _require_pair("image_size", self.image_size, 32, 8192)
        _require_pair("people", self.people, 1, 99, ascending=True)
        _require_pair("person_height", self.person_height, 0.05, 1.0, ascending=True)
        for share in ("max_overlap", "truncated", "crowd_regions", "from_behind", "clutter"):
            _require_between(share, getattr(self, share), 0.0, 1.0)
        for angle in ("yaw_degrees", "lean_degrees"):
            _require_between(angle, getattr(self, angle), 0.0, 90.0)
        for switch in ("log_heights", "varied_looks", "self_occlusion"):
            require(type(getattr(self, switch)) is bool, switch, getattr(self, switch), "true or false")
        require(self.placement in get_args(Placement), "placement", self.placement, "random or annotated")
        _require_between("grain", self.grain, 0, 60)
        _require_between("jpeg_quality", self.jpeg_quality, 1, 100)
        self._require_reachable_crowding()

    def _require_reachable_crowding(self) -> None:
        require(isinstance(self.crowd_index, tuple), "crowd_index", self.crowd_index, "a list of [low, high] ranges")
        for crowding in self.crowd_index:
            _require_pair("crowd_index", crowding, 0.0, 1.0)
            low, high = crowding
            require(high - low >= NARROWEST_CROWDING - 1e-9, "crowd_index", crowding, "a range at least 0.1 wide")
            require(
                low == 0 or self.people[1] > 1, "people", self.people, f"up to 2 or more for crowd_index {crowding}"
            )
        if self.crowd_index and self.placement == "annotated":
            raise InputError("crowd_index cannot be chosen with placement=annotated; remove it")


def _as_tuple(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_as_tuple(item) for item in value)
    return value


def _require_pair(field: str, value: object, low: float, high: float, *, ascending: bool = False) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"{field} is {value!r}; it must be a pair of numbers")
    for number in value:
        _require_between(field, number, low, high)
    if ascending and value[0] > value[1]:
        raise InputError(f"{field} is {value!r}; the first must not exceed the second")


def _require_between(field: str, value: object, low: float, high: float) -> None:
    """Refuse what is not a number in the range, or not an integer where the bounds are integers."""
    whole = isinstance(low, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        raise InputError(
            f"{field} is {value!r}; it must be {'an integer' if whole else 'a number'} from {low} to {high}"
        )
