"""The search space: every choice an architecture may make, in one value."""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, Self, get_args

from litepose_ofa.supernet.archs.arch import (
    MOST_BLOCKS,
    STAGE_STRIDES,
    Arch,
    BlockArch,
    StageArch,
)
from litepose_ofa.supernet.errors import InputError, require_keys, shown

Dimension = Literal["resolution", "kernel", "depth", "expansion", "width"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
"""What a supernet can be elastic in; width is that of the stem, the stages and the fusion deconvs."""

FULL_STEM = 24
FULL_STAGES = (32, 64, 96, 160)
FULL_DECONVS = (64, 48, 32)
FULL_DEPTHS = (6, 8, 10, 10)
WIDTH_MULTIPLIERS = (0.25, 0.5, 0.75, 1.0)


class RandomSource(Protocol):
    """``random.Random`` and ``numpy.random.Generator`` both qualify."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


@dataclass(frozen=True, slots=True)
class StageSpace:
    """Choices of one stage; every block chooses its own kernel and expansion."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]


@dataclass(frozen=True)
class SearchSpace:
    """All architectures that a supernet contains.

    Every tuple of choices ascends, so index 0 is the smallest. Presets: ``litepose``, ``litepose_released`` (what the
    LitePose authors searched, 245,760 architectures) and ``tiny`` (trains on two CPU cores in minutes).

    Raises:
        InputError: If a list of choices is empty, unsorted, or holds an impossible value; the message names it.

    Example:
        >>> import random
        >>> space = SearchSpace.preset("litepose_released")
        >>> space.size, space.contains(space.sample(random.Random(0)))
        (245760, True)
    """

    name: str
    image_sizes: tuple[int, ...]
    stem_channels: tuple[int, ...]
    stages: tuple[StageSpace, ...]
    deconv_channels: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.stages) != len(STAGE_STRIDES) or len(self.deconv_channels) != 3:
            raise InputError(f"space {self.name!r} needs {len(STAGE_STRIDES)} stages and 3 deconv_channels")
        for field, choices in self._choice_lists():
            if not choices or any(type(choice) is not int for choice in choices):
                raise InputError(f"space {self.name!r}: {field} is {shown(choices)}; it must be a list of integers")
            if any(a >= b for a, b in itertools.pairwise(choices)):
                raise InputError(f"space {self.name!r}: {field} is {shown(list(choices))}; it must ascend")
        for s, stage in enumerate(self.stages):
            if stage.depths[-1] > MOST_BLOCKS:  # before an architecture of so many is put together
                raise InputError(
                    f"space {self.name!r}: stages[{s}].depths has {stage.depths[-1]}; at most {MOST_BLOCKS}"
                )
        for index in range(max(len(choices) for _, choices in self._choice_lists())):
            self._arch_at(index)  # an Arch refuses impossible values and names them

    @classmethod
    def preset(cls, name: str) -> "SearchSpace":
        """Return a shipped space.

        Raises:
            InputError: If the name is unknown; the message lists the known ones.
        """
        if name not in PRESETS:
            raise InputError(f"unknown space {name!r}; known: {', '.join(PRESETS)}")
        return PRESETS[name]

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Build a space from what ``to_dict`` returns (strict: unknown and missing keys are errors)."""
        top = require_keys("space", value, ("name", "image_sizes", "stem_channels", "stages", "deconv_channels"))
        if not isinstance(top["name"], str):
            raise InputError(f"space: name is {shown(top['name'])}; it must be a text")
        stages = []
        for s, stage in enumerate(_listed("stages", top["stages"])):
            fields = require_keys(f"space: stages[{s}]", stage, ("channels", "depths", "kernels", "expansions"))
            stages.append(StageSpace(**{key: _listed(f"stages[{s}].{key}", fields[key]) for key in fields}))
        return cls(
            name=top["name"],
            image_sizes=_listed("image_sizes", top["image_sizes"]),
            stem_channels=_listed("stem_channels", top["stem_channels"]),
            stages=tuple(stages),
            deconv_channels=tuple(
                _listed(f"deconv_channels[{i}]", choices)
                for i, choices in enumerate(_listed("deconv_channels", top["deconv_channels"]))
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain lists and dicts."""
        return self._to_dict(DIMENSIONS)

    def restricted(self, elastic: Collection[Dimension]) -> Self:
        """Return the part of this space that is elastic in some dimensions only, at the largest choice in the others.

        Args:
            elastic: Dimensions that keep all their choices.

        Raises:
            InputError: If a dimension is unknown; the message lists the known ones.

        Example:
            >>> SearchSpace.preset("litepose").restricted(["resolution"]).size
            5
        """
        for dimension in elastic:
            if dimension not in DIMENSIONS:
                raise InputError(f"unknown dimension {dimension!r}; known: {', '.join(DIMENSIONS)}")
        return self.from_dict(self._to_dict(elastic))

    @cached_property
    def choices(self) -> Mapping[str, tuple[int, ...]]:
        """What every choice offers, by its name: those of ``Arch.chosen`` at the greatest depths, in its order."""
        offered = {}

        def pick(name: str, values: tuple[int, ...]) -> int:
            offered[name] = values
            return values[-1]

        return {name: offered[name] for name in self.assemble(pick).chosen}

    @property
    def size(self) -> int:
        """Number of distinct architectures."""
        count = math.prod(len(values) for name, values in self.choices.items() if not name.startswith("stage"))
        for stage in self.stages:
            blocks = len(stage.kernels) * len(stage.expansions)
            count *= len(stage.channels) * sum(blocks**depth for depth in stage.depths)
        return count

    def smallest(self) -> Arch:
        """Return the architecture with the smallest choice everywhere."""
        return self._arch_at(0)

    def largest(self) -> Arch:
        """Return the architecture with the largest choice everywhere."""
        return self._arch_at(-1)

    def sample(self, rng: RandomSource) -> Arch:
        """Draw an architecture, every choice uniform and independent."""
        return self.assemble(lambda _, values: values[int(rng.random() * len(values))])

    def contains(self, arch: Arch) -> bool:
        """Say whether every choice of ``arch`` is one of this space's."""
        return all(value in self.choices.get(name, ()) for name, value in arch.chosen.items())

    def assemble(self, pick: Callable[[str, tuple[int, ...]], int]) -> Arch:
        """Put an architecture together.

        Args:
            pick: Called for one choice after another with its name, as in ``Arch.chosen``, and the values that the
                space offers; returns one of them.
        """
        image_size, stem = pick("image_size", self.image_sizes), pick("stem", self.stem_channels)
        stages = []
        for s, (space, stride) in enumerate(zip(self.stages, STAGE_STRIDES, strict=True)):
            channels, depth = pick(f"stage{s}.width", space.channels), pick(f"stage{s}.depth", space.depths)
            blocks = tuple(
                BlockArch(
                    expansion=pick(f"stage{s}.block{b}.expansion", space.expansions),
                    kernel=pick(f"stage{s}.block{b}.kernel", space.kernels),
                )
                for b in range(depth)
            )
            stages.append(StageArch(channels, stride, blocks))
        deconvs = tuple(pick(f"deconv{i}", widths) for i, widths in enumerate(self.deconv_channels))
        return Arch(image_size, stem, tuple(stages), deconvs)

    def _arch_at(self, index: int) -> Arch:
        """Return the architecture with this index in every list of choices, the last where a list is shorter."""
        return self.assemble(lambda _, values: values[min(index, len(values) - 1)])

    def _to_dict(self, elastic: Collection[Dimension]) -> dict[str, Any]:
        """Return the space as plain lists and dicts, with the largest choice alone in the other dimensions."""

        def kept(dimension: Dimension, choices: tuple[int, ...]) -> list[int]:
            return list(choices if dimension in elastic else choices[-1:])

        return {
            "name": self.name,
            "image_sizes": kept("resolution", self.image_sizes),
            "stem_channels": kept("width", self.stem_channels),
            "stages": [
                {
                    "channels": kept("width", stage.channels),
                    "depths": kept("depth", stage.depths),
                    "kernels": kept("kernel", stage.kernels),
                    "expansions": kept("expansion", stage.expansions),
                }
                for stage in self.stages
            ],
            "deconv_channels": [kept("width", choices) for choices in self.deconv_channels],
        }

    def _choice_lists(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "image_sizes", self.image_sizes
        yield "stem_channels", self.stem_channels
        for s, stage in enumerate(self.stages):
            yield f"stages[{s}].channels", stage.channels
            yield f"stages[{s}].depths", stage.depths
            yield f"stages[{s}].kernels", stage.kernels
            yield f"stages[{s}].expansions", stage.expansions
        for i, choices in enumerate(self.deconv_channels):
            yield f"deconv_channels[{i}]", choices


def round_width(width: float, multiple: int = 8) -> int:
    """Round a width to the nearest multiple; one step up if that loses more than a tenth (the LitePose rule)."""
    rounded = max(multiple, int(width + multiple / 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * width else rounded + multiple


def _listed(field: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"space: {field} is {shown(value)}; it must be a list")
    return tuple(value)


def _scaled_widths(full: int) -> tuple[int, ...]:
    return tuple(sorted({round_width(full * multiplier) for multiplier in WIDTH_MULTIPLIERS}))


def _litepose(
    name: str, depths: tuple[tuple[int, ...], ...], kernels: tuple[int, ...], expansions: tuple[int, ...]
) -> SearchSpace:
    return SearchSpace(
        name=name,
        image_sizes=(256, 320, 384, 448, 512),
        stem_channels=_scaled_widths(FULL_STEM),
        stages=tuple(
            StageSpace(_scaled_widths(full), depth, kernels, expansions)
            for full, depth in zip(FULL_STAGES, depths, strict=True)
        ),
        deconv_channels=tuple(_scaled_widths(full) for full in FULL_DECONVS),
    )


PRESETS = {
    space.name: space
    for space in (
        _litepose("litepose", ((2, 4, 6), (4, 6, 8), (4, 6, 8, 10), (4, 6, 8, 10)), (3, 5, 7), (3, 4, 6)),
        _litepose("litepose_released", tuple((depth,) for depth in FULL_DEPTHS), (7,), (6,)),
        SearchSpace(
            name="tiny",
            image_sizes=(96, 128),
            stem_channels=(8,),
            stages=tuple(
                StageSpace(widths, (1, 2), (3, 5, 7), (2, 4)) for widths in ((8, 16), (16, 24), (24, 32), (32, 48))
            ),
            deconv_channels=((16, 24), (8, 16), (8, 16)),
        ),
    )
}
