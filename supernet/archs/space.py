"""The search space: every choice an architecture may make, in one value."""

import itertools
import json
import math
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from importlib import resources
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import AfterValidator, Field, Strict

from litepose_ofa.supernet.archs.arch import MOST_BLOCKS, STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import load_yaml
from litepose_ofa.supernet.validation import Allowed, settings, validate

Dimension = Literal["resolution", "kernel", "depth", "expansion", "width"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
"""Dimensions that a supernet can be elastic in; width is that of the stem, the stages and the fusion deconvs."""


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError("it must ascend")
    return values


Choices = Annotated[
    tuple[Annotated[int, Strict()], ...],
    Strict(False),
    AfterValidator(_ascending),
    Allowed("a list of integers that ascend"),
]
Depths = Annotated[
    tuple[Annotated[int, Strict(), Field(ge=1, le=MOST_BLOCKS)], ...],
    Strict(False),
    AfterValidator(_ascending),
    Allowed(f"a list of integers from 1 to {MOST_BLOCKS} that ascend"),
]


@settings
class StageSpace:
    """Choices of one stage; every block chooses its own kernel and expansion."""

    channels: Choices
    depths: Depths
    kernels: Choices
    expansions: Choices


Stages = Annotated[
    tuple[StageSpace, ...],
    Strict(False),
    Field(min_length=len(STAGE_STRIDES), max_length=len(STAGE_STRIDES)),
    Allowed(f"a list of {len(STAGE_STRIDES)} mappings with the keys channels, depths, kernels, expansions"),
]
Deconvs = Annotated[
    tuple[Choices, ...],
    Strict(False),
    Field(min_length=3, max_length=3),
    Allowed("a list of 3 lists of integers that ascend"),
]


@settings
class SearchSpace:
    """All architectures that a supernet contains.

    Every tuple of choices ascends, so index 0 is the smallest. Presets: ``litepose``, ``litepose_released`` (what the
    LitePose authors searched, 245,760 architectures), ``small`` (24 to 393 MMACs, for CPUs) and ``tiny`` (trains on two
    CPU cores in minutes).

    Example:
        >>> import random
        >>> space = SearchSpace.preset("litepose_released")
        >>> space.size, space.contains(space.sample(random.Random(0)))
        (245760, True)
    """

    name: str
    image_sizes: Choices
    stem_channels: Choices
    stages: Stages
    deconv_channels: Deconvs

    def __post_init__(self) -> None:
        for index in range(max(map(len, self.choices.values()))):
            Arch.from_dict(self._arch_at(index).to_dict())  # it refuses impossible values and names them

    @classmethod
    def preset(cls, name: str) -> "SearchSpace":
        """Return a shipped space, of ``conf/space``."""
        if name not in PRESETS:
            raise InputError(f"unknown space {name!r}; known: {', '.join(PRESETS)}")
        return PRESETS[name]

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Build a space from what ``to_dict`` returns.

        Raises:
            InputError: If a key is unknown or missing, or a value is impossible; the message names it.
        """
        return validate(cls, value, "space")

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain lists and dicts."""
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value

    def restricted(self, elastic: Collection[Dimension]) -> Self:
        """Return the part of this space that is elastic in some dimensions only, at the largest choice in the others.

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

        return replace(
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

    @cached_property
    def choices(self) -> Mapping[str, tuple[int, ...]]:
        """The values on offer by choice: the names of ``Arch.chosen`` at the greatest depths, in its order."""
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

    def sample(self, rng: random.Random | np.random.Generator) -> Arch:
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


def _load_presets() -> dict[str, SearchSpace]:
    folder = resources.files("litepose_ofa") / "conf" / "space"
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    spaces = (SearchSpace.from_dict(load_yaml((folder / name).read_text(encoding="utf-8"))) for name in files)
    return {space.name: space for space in spaces}


PRESETS = _load_presets()
"""The shipped spaces by name."""
