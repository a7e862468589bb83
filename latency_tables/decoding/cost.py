"""What a frame costs beyond its network: the input made of it, and people made of the network's outputs.

Legend: R side of the network's square input in pixels.
"""

import bisect
import hashlib
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, Strict, model_validator

from litepose_ofa.latency_tables.metadata import locate
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import read_yaml, write_text
from litepose_ofa.supernet.validation import Allowed, Checked, Count, NonNegative, Positive, Text, Whole, validate

SHIPPED_DIR = Path(__file__).parents[1] / "decoding_costs"

PEOPLE_EXPONENT = 0.75
"""Of the number of people in the cost: a crowd's joints overlap, and of each joint only so many candidates are kept.

On the shipped measurement the mean error is 3.5 %; a straight line's is 6.4 % and a square root's 6.0 %.
"""


class SizeCost(Checked):
    """The cost at one input size: ``base_ms + person_ms x people ** PEOPLE_EXPONENT``.

    Attributes:
        base_ms: Milliseconds of a frame with nobody in it.
        person_ms: Milliseconds that the first person adds.
        spread: One standard deviation of single scenes about the cost, relative to it.
        measured_ms: Median over the scenes by number of people.
    """

    image_size: Count
    base_ms: NonNegative
    person_ms: NonNegative
    spread: NonNegative
    measured_ms: Annotated[
        dict[Whole, Positive], Field(min_length=1), Allowed("a mapping of numbers of people to milliseconds")
    ]

    def ms(self, people: float) -> float:
        """Return the milliseconds of a frame with so many people."""
        return self.base_ms + self.person_ms * float(people**PEOPLE_EXPONENT)

    @property
    def mean_error(self) -> float:
        """Mean absolute error of the cost at the measured medians, relative to them."""
        return sum(abs(self.ms(n) - ms) / ms for n, ms in self.measured_ms.items()) / len(self.measured_ms)


class DecodingCost(Checked):
    """Milliseconds that one machine needs for a frame beyond the network, by input size and number of people.

    On disk it is one YAML file. Between two measured sizes the cost is linear in the number of pixels, R squared;
    outside the measured sizes, and beyond the most people measured, nothing is said.

    Attributes:
        name: Of the machine; the shipped files' name.
        software: Libraries that do the work, with their versions.
        num_keypoints: K of the scenes.
        frame: Width and height of the frames in pixels.
        sizes: The cost at each measured size, ascending.

    Example:
        >>> DecodingCost.load("host_cpu").ms(256, people=5) > DecodingCost.load("host_cpu").ms(256, people=0)
        True
    """

    schema_version: Literal[1] = 1
    name: Text
    processor: Text
    software: Text
    threads: Count
    clock: Text
    num_keypoints: Count
    frame: Annotated[tuple[Count, Count], Strict(False), Allowed("a width and a height in pixels")]
    date: Text
    made_by: Text
    notes: Text
    sizes: Annotated[tuple[SizeCost, ...], Strict(False)]

    @model_validator(mode="after")
    def _sizes_fit_together(self) -> Self:
        measured = [size.image_size for size in self.sizes]
        ascending = bool(measured) and measured == sorted(set(measured))
        require(ascending, "the image sizes", measured, "ascending, at least one")
        counts = {tuple(size.measured_ms) for size in self.sizes}
        require(len(counts) == 1, "the numbers of people", sorted(counts), "the same at every image size")
        return self

    @classmethod
    def load(cls, name_or_path: Path | str) -> Self:
        """Read a shipped cost by its name, or any by the path of its ``.yaml``.

        Raises:
            InputError: If the name is unknown (the shipped ones are listed) or the file is malformed.
        """
        path = locate(name_or_path, SHIPPED_DIR, "decoding cost", (".yaml",))
        return validate(cls, read_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the cost as plain values, in the order of the fields."""
        return {**self.model_dump(), "frame": list(self.frame), "sizes": [size.model_dump() for size in self.sizes]}

    def save(self, path: Path | str) -> None:
        """Write the YAML file."""
        write_text(path, self._yaml())

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the file's text: a name for records."""
        return hashlib.sha256(self._yaml().encode()).hexdigest()[:12]

    @property
    def most_people(self) -> int:
        """Greatest number of people measured."""
        return max(self.sizes[0].measured_ms)

    def ms(self, image_size: int, people: float) -> float:
        """Return the median milliseconds of a frame beyond its network; an average number of people may be a fraction.

        Raises:
            InputError: If nothing was measured there; the message says how to measure it.
        """
        require_people(people)
        if people > self.most_people:
            raise InputError(
                f"decoding cost {self.name} was measured up to {self.most_people} people, not {people:g}; "
                f"measure there: litepose measure-decoding name=... people_counts=[...,{people:g}]"
            )
        return sum(weight * size.ms(people) for weight, size in self._around(image_size))

    def std_ms(self, image_size: int, people: float) -> float:
        """Return one standard deviation of single frames about ``ms``; the arguments and errors are the same."""
        relative = sum(weight * size.spread for weight, size in self._around(image_size))
        return relative * self.ms(image_size, people)

    def _around(self, image_size: int) -> list[tuple[float, SizeCost]]:
        """Return the measured sizes on either side and their weights, linear in R squared."""
        sizes = [size.image_size for size in self.sizes]
        if not sizes[0] <= image_size <= sizes[-1]:
            raise InputError(
                f"decoding cost {self.name} was measured at {sizes[0]} to {sizes[-1]} pixels, not at {image_size}; "
                f"measure there: litepose measure-decoding name=... image_sizes=[...,{image_size}]"
            )
        above = bisect.bisect_left(sizes, image_size)
        if sizes[above] == image_size:
            return [(1.0, self.sizes[above])]
        low, high = self.sizes[above - 1], self.sizes[above]
        share = (image_size**2 - low.image_size**2) / (high.image_size**2 - low.image_size**2)
        return [(1 - share, low), (share, high)]

    def _yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=120)


def require_people(people: float) -> None:
    """Raise ``InputError`` unless it is a possible number of people in a frame."""
    require(0 <= people < math.inf, "people", people, "a number of at least 0")


def shipped_decoding_costs() -> list[str]:
    """Return the names that ``DecodingCost.load`` knows without a path."""
    return sorted(path.stem for path in SHIPPED_DIR.glob("*.yaml"))
