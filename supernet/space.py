"""The search space: every choice an architecture may make, in one value."""

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from supernet.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from supernet.errors import InputError

T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
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
                raise InputError(f"space {self.name!r}: {field} is {choices!r}; it must be a list of integers")
            if any(a >= b for a, b in itertools.pairwise(choices)):
                raise InputError(f"space {self.name!r}: {field} is {list(choices)}; it must ascend")
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
        top = _checked("space", value, ("name", "image_sizes", "stem_channels", "stages", "deconv_channels"))
        if not isinstance(top["name"], str):
            raise InputError(f"space: name is {top['name']!r}; it must be a text")
        stages = []
        for s, stage in enumerate(_listed("stages", top["stages"])):
            fields = _checked(f"stages[{s}]", stage, ("channels", "depths", "kernels", "expansions"))
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
        return {
            "name": self.name,
            "image_sizes": list(self.image_sizes),
            "stem_channels": list(self.stem_channels),
            "stages": [
                {
                    "channels": list(stage.channels),
                    "depths": list(stage.depths),
                    "kernels": list(stage.kernels),
                    "expansions": list(stage.expansions),
                }
                for stage in self.stages
            ],
            "deconv_channels": [list(choices) for choices in self.deconv_channels],
        }

    @property
    def size(self) -> int:
        """Number of distinct architectures."""
        count = len(self.image_sizes) * len(self.stem_channels) * math.prod(len(c) for c in self.deconv_channels)
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

        def pick(choices: tuple[T, ...]) -> T:
            return choices[int(rng.random() * len(choices))]

        image_size, stem = pick(self.image_sizes), pick(self.stem_channels)
        stages = []
        for space, stride in zip(self.stages, STAGE_STRIDES, strict=True):
            channels, depth = pick(space.channels), pick(space.depths)
            blocks = tuple(BlockArch(pick(space.expansions), pick(space.kernels)) for _ in range(depth))
            stages.append(StageArch(channels, stride, blocks))
        return Arch(image_size, stem, tuple(stages), tuple(pick(choices) for choices in self.deconv_channels))

    def contains(self, arch: Arch) -> bool:
        """Say whether every choice of ``arch`` is one of this space's."""
        return (
            arch.image_size in self.image_sizes
            and arch.stem_channels in self.stem_channels
            and all(d in choices for d, choices in zip(arch.deconv_channels, self.deconv_channels, strict=True))
            and all(
                stage.channels in space.channels
                and len(stage.blocks) in space.depths
                and all(b.kernel in space.kernels and b.expansion in space.expansions for b in stage.blocks)
                for stage, space in zip(arch.stages, self.stages, strict=True)
            )
        )

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

        def kept(dimension: Dimension, choices: tuple[int, ...]) -> tuple[int, ...]:
            return choices if dimension in elastic else choices[-1:]

        return dataclasses.replace(
            self,
            image_sizes=kept("resolution", self.image_sizes),
            stem_channels=kept("width", self.stem_channels),
            stages=tuple(
                StageSpace(
                    channels=kept("width", stage.channels),
                    depths=kept("depth", stage.depths),
                    kernels=kept("kernel", stage.kernels),
                    expansions=kept("expansion", stage.expansions),
                )
                for stage in self.stages
            ),
            deconv_channels=tuple(kept("width", choices) for choices in self.deconv_channels),
        )

    def _arch_at(self, index: int) -> Arch:
        """Return the architecture with this index in every list of choices, the last where a list is shorter."""

        def pick(choices: tuple[T, ...]) -> T:
            return choices[min(index, len(choices) - 1)]

        stages = tuple(
            StageArch(
                pick(stage.channels),
                stride,
                (BlockArch(pick(stage.expansions), pick(stage.kernels)),) * pick(stage.depths),
            )
            for stage, stride in zip(self.stages, STAGE_STRIDES, strict=True)
        )
        deconvs = tuple(pick(choices) for choices in self.deconv_channels)
        return Arch(pick(self.image_sizes), pick(self.stem_channels), stages, deconvs)

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


def _checked(where: str, value: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or set(value) != set(names):
        found = list(value) if isinstance(value, Mapping) else type(value).__name__
        raise InputError(f"{where} has {found}; it must have exactly the keys {', '.join(names)}")
    return value


def _listed(field: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"space: {field} is {value!r}; it must be a list")
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
