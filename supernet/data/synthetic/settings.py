"""What rendered images show, as a checked value."""

from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.validation import Allowed, Fraction, settings

NARROWEST_CROWDING = 0.1
"""Two people's crowd index moves in steps of one keypoint, about 0.07."""

Side = Annotated[int, Field(ge=32, le=8192)]
People = Annotated[int, Field(ge=1, le=99)]
Height = Annotated[float, Field(ge=0.05, le=1)]
Degrees = Annotated[float, Field(ge=0, le=90)]
CrowdRange = Annotated[tuple[Fraction, Fraction], Strict(False)]


ImageSize = Annotated[
    tuple[Side, Side],
    Strict(False),
    BeforeValidator(lambda value: (value, value) if isinstance(value, int) else value),
    Allowed("width and height, or one number for a square, of 32 to 8192 pixels"),
]


@settings
class PeopleSettings:
    """What the images show; ``conf/people/street.yaml`` explains each.

    One who finds no room is left out, but never the first. With ranges of the crowd index, people come together, move
    apart or are left out until the one that was drawn holds. Yaw, lean and from behind are for poses of kinematics.
    """

    image_size: ImageSize = (160, 160)
    people: Annotated[tuple[People, People], Strict(False)] = (1, 2)
    person_height: Annotated[tuple[Height, Height], Strict(False)] = (0.6, 0.95)
    log_heights: bool = False
    max_overlap: Fraction = 0.4
    crowd_index: Annotated[tuple[CrowdRange, ...], Strict(False)] = ()
    truncated: Fraction = 0.0
    crowd_regions: Fraction = 0.0
    from_behind: Fraction = 0.0
    yaw_degrees: Degrees = 45.0
    lean_degrees: Degrees = 12.0
    varied_looks: bool = False
    self_occlusion: bool = False
    clutter: Fraction = 0.0
    grain: Annotated[int, Field(ge=0, le=60)] = 6
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 92

    def __post_init__(self) -> None:
        for name in ("people", "person_height"):
            low, high = getattr(self, name)
            require(low <= high, name, (low, high), "ascending")
        for low, high in self.crowd_index:
            require(high - low >= NARROWEST_CROWDING - 1e-9, "crowd_index", (low, high), "a range at least 0.1 wide")
            if low > 0 and self.people[1] == 1:
                raise InputError(f"people is {self.people}; crowd_index {(low, high)} needs up to 2 or more")
