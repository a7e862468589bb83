"""What a frame costs beyond its network: the input made of it, and people made of the network's outputs.

Legend: R side of the network's square input in pixels.
"""

import bisect
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import yaml

from litepose_ofa.latency_tables.metadata import is_finite
from litepose_ofa.supernet.errors import InputError, require, require_keys
from litepose_ofa.supernet.files import read_yaml, write_text

SHIPPED_DIR = Path(__file__).parents[1] / "decoding_costs"

SCHEMA_VERSION = 1

PEOPLE_EXPONENT = 0.75
"""Of the number of people in the cost: a crowd's joints overlap, and of each joint only so many candidates are kept.

On the shipped measurement the mean error is 3.5 %; a straight line's is 6.4 % and a square root's 6.0 %.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeCost:
    """The cost at one input size: ``base_ms + person_ms x people ** PEOPLE_EXPONENT``.

    Attributes:
        image_size: R.
        base_ms: Milliseconds of a frame with nobody in it.
        person_ms: Milliseconds that the first person adds.
        spread: One standard deviation of single scenes about the cost, relative to it.
        measured_ms: Median over the scenes by number of people.
    """

    image_size: int
    base_ms: float
    person_ms: float
    spread: float
    measured_ms: Mapping[int, float]

    def __post_init__(self) -> None:
        require(_is_count(self.image_size), "image_size", self.image_size, "a positive integer")
        for name in ("base_ms", "person_ms", "spread"):
            require(_is_cost(getattr(self, name)), name, getattr(self, name), "a number of at least 0")
        measured = self.measured_ms
        valid = isinstance(measured, Mapping) and len(measured) > 0
        valid = valid and all(type(n) is int and n >= 0 and is_finite(ms) and ms > 0 for n, ms in measured.items())
        require(valid, "measured_ms", measured, "a mapping of numbers of people to milliseconds")

    def ms(self, people: float) -> float:
        """Return the milliseconds of a frame with so many people."""
        return self.base_ms + self.person_ms * float(people**PEOPLE_EXPONENT)

    @property
    def mean_error(self) -> float:
        """Mean absolute error of the cost at the measured medians, relative to them."""
        return sum(abs(self.ms(n) - ms) / ms for n, ms in self.measured_ms.items()) / len(self.measured_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingCost:
    """Milliseconds that one machine needs for a frame beyond the network, by input size and number of people.

    On disk it is one YAML file. Between two measured sizes the cost is linear in the number of pixels, R squared;
    outside the measured sizes, and beyond the most people measured, nothing is said.

    Attributes:
        name: Name of the machine; the shipped files' name.
        processor: What computes.
        software: Libraries that do the work, with their versions.
        threads: Threads at work.
        clock: Which clock was read.
        num_keypoints: K of the scenes.
        frame: Width and height of the frames in pixels.
        date: ISO date of the measurement.
        made_by: Program or person.
        notes: What the cost comprises.
        sizes: The cost at each measured size, ascending.

    Raises:
        InputError: If a value is impossible; the message names it.

    Example:
        >>> DecodingCost.load("host_cpu").ms(256, people=5) > DecodingCost.load("host_cpu").ms(256, people=0)
        True
    """

    name: str
    processor: str
    software: str
    threads: int
    clock: str
    num_keypoints: int
    frame: tuple[int, int]
    date: str
    made_by: str
    notes: str
    sizes: tuple[SizeCost, ...]

    def __post_init__(self) -> None:
        for name in ("name", "processor", "software", "clock", "date", "made_by", "notes"):
            value = getattr(self, name)
            require(isinstance(value, str) and bool(value.strip()), name, value, "a text")
        for name in ("threads", "num_keypoints"):
            require(_is_count(getattr(self, name)), name, getattr(self, name), "a positive integer")
        valid_frame = isinstance(self.frame, tuple) and len(self.frame) == 2 and all(map(_is_count, self.frame))
        require(valid_frame, "frame", self.frame, "a width and a height in pixels")
        measured = [size.image_size for size in self.sizes]
        ascending = bool(measured) and measured == sorted(set(measured))
        require(ascending, "the image sizes", measured, "ascending, at least one")
        counts = {tuple(size.measured_ms) for size in self.sizes}
        require(len(counts) == 1, "the numbers of people", sorted(counts), "the same at every image size")

    @classmethod
    def load(cls, name_or_path: Path | str) -> Self:
        """Read a shipped cost by its name, or any by the path of its ``.yaml``.

        Raises:
            InputError: If the name is unknown (the shipped ones are listed) or the file is malformed.
        """
        path = _locate(name_or_path)
        value = read_yaml(path)
        try:
            return cls.from_dict(value)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Build a cost from what ``to_dict`` returns (strict: unknown and missing keys are errors)."""
        names = [field.name for field in fields(cls)]
        top = dict(require_keys("the decoding cost", value, ["schema_version", *names]))
        version = top.pop("schema_version")
        require(type(version) is int and version == SCHEMA_VERSION, "schema_version", version, str(SCHEMA_VERSION))
        require(isinstance(top["sizes"], list), "sizes", top["sizes"], "a list")
        require(isinstance(top["frame"], list), "frame", top["frame"], "a width and a height in pixels")
        sizes = []
        for i, size in enumerate(top["sizes"]):
            entry = require_keys(f"sizes[{i}]", size, [field.name for field in fields(SizeCost)])
            try:
                sizes.append(SizeCost(**entry))
            except InputError as error:
                raise InputError(f"sizes[{i}]: {error}") from None
        return cls(**{**top, "frame": tuple(top["frame"]), "sizes": tuple(sizes)})

    def to_dict(self) -> dict[str, Any]:
        """Return the cost as plain values, in the order of the fields."""
        sizes = [{**asdict(size), "measured_ms": dict(size.measured_ms)} for size in self.sizes]
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "frame": list(self.frame), "sizes": sizes}

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
        """Return the median milliseconds of a frame beyond its network.

        Args:
            image_size: R.
            people: People in the frame; an average may be a fraction.

        Raises:
            InputError: If nothing was measured there; the message says how to measure it.
        """
        require_people(people)
        if people > self.most_people:
            raise InputError(
                f"decoding cost {self.name} was measured up to {self.most_people} people, not {people:g}; "
                f"{_how_to_measure(f'people_counts=[...,{people:g}]')}"
            )
        return sum(weight * size.ms(people) for weight, size in self._around(image_size))

    def spread_ms(self, image_size: int, people: float) -> float:
        """Return one standard deviation of single frames about ``ms``; the arguments and errors are the same."""
        relative = sum(weight * size.spread for weight, size in self._around(image_size))
        return relative * self.ms(image_size, people)

    def _around(self, image_size: int) -> list[tuple[float, SizeCost]]:
        """Return the measured sizes on either side and their weights, linear in R squared."""
        sizes = [size.image_size for size in self.sizes]
        if not sizes[0] <= image_size <= sizes[-1]:
            raise InputError(
                f"decoding cost {self.name} was measured at {sizes[0]} to {sizes[-1]} pixels, not at {image_size}; "
                f"{_how_to_measure(f'image_sizes=[...,{image_size}]')}"
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
    """Refuse an impossible number of people in a frame.

    Raises:
        InputError: If it is not a finite number of at least 0.
    """
    require(_is_cost(people), "people", people, "a number of at least 0")


def shipped_decoding_costs() -> list[str]:
    """Return the names that ``DecodingCost.load`` knows without a path."""
    return sorted(path.stem for path in SHIPPED_DIR.glob("*.yaml"))


def _locate(name_or_path: Path | str) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".yaml" or len(path.parts) != 1:
        return path
    if path.name not in shipped_decoding_costs():
        known = ", ".join(shipped_decoding_costs())
        raise InputError(
            f"unknown decoding cost {path.name!r}; shipped: {known}; for another give the path of its .yaml"
        )
    return SHIPPED_DIR / f"{path.name}.yaml"


def _how_to_measure(setting: str) -> str:
    return f"measure there: litepose measure-decoding name=... {setting}"


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_cost(value: Any) -> bool:
    return is_finite(value) and value >= 0
