"""Where the blocks of a subnet's diagram stand, and how high they are.

Legend: sizes are pixels of the drawing; x right, y down. A block is an operator: its height is its output channels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.operators import Operator, operators_of

BLOCK, PITCH = 12.0, 15.0
GROUP_GAP, LEAST_GROUP = 8.0, 52.0
"""Between two groups, and the least width of one: its name has to fit below it."""

HEADING = 80.0
"""Left of the blocks, for what the rows are called."""

BODY = 150.0
"""Height of the widest block."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What the full height of a block and of its bar stand for; drawings of one scale can be compared.

    Attributes:
        channels: Widest output.
        expansion: Largest expansion.
    """

    channels: int
    expansion: int

    @classmethod
    def of(cls, archs: Iterable[Arch], num_keypoints: int = 14) -> Self:
        """Return the scale at which these subnets fill the height."""
        operators = [operator for arch in archs for operator in operators_of(arch, num_keypoints)]
        return cls(max(o.out_channels for o in operators), max(o.expansion for o in operators))

    def height(self, operator: Operator) -> float:
        """Return the height of an operator's block."""
        return BODY * operator.out_channels / self.channels


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks of one name: the stem, a stage, a fusion deconv or a head.

    Attributes:
        name: As ``stage 2``.
        operators: In the order they run.
    """

    name: str
    operators: tuple[Operator, ...]

    @property
    def is_stage(self) -> bool:
        """Whether its blocks are inverted bottlenecks."""
        return self.operators[0].kind == "bottleneck"

    @property
    def out_resolution(self) -> int:
        """Side of the maps that leave it, in pixels of the network."""
        return self.operators[-1].out_resolution

    @property
    def width(self) -> float:
        """What the blocks and the name need."""
        return max(LEAST_GROUP, PITCH * len(self.operators))


@dataclass(frozen=True, slots=True)
class PlacedGroup:
    """A group, and where it begins."""

    group: Group
    left: float

    @property
    def blocks(self) -> list[tuple[Operator, float]]:
        """The operators and the left edges of their blocks: a stage begins at the left, others are in the middle."""
        start = self.left if self.group.is_stage else self.left + (self.group.width - BLOCK) / 2
        return [(operator, start + PITCH * index) for index, operator in enumerate(self.group.operators)]

    @property
    def entry(self) -> float:
        """The middle of the first block."""
        return self.blocks[0][1] + BLOCK / 2

    @property
    def exit(self) -> float:
        """The middle of the last block."""
        return self.blocks[-1][1] + BLOCK / 2

    @property
    def middle(self) -> float:
        """Between the two."""
        return (self.entry + self.exit) / 2

    @property
    def label_x(self) -> float:
        """Where the middle of the name is: on the blocks, but not left of them."""
        return max(self.middle, self.left + LEAST_GROUP / 2 - GROUP_GAP / 2) if self.group.is_stage else self.middle


def groups_of(arch: Arch, num_keypoints: int = 14) -> list[Group]:
    """Return the stem, the four stages, the three fusion deconvs and the two heads of a subnet."""
    depths = [len(stage.blocks) for stage in arch.stages]
    stages = [f"stage {s}" for s, depth in enumerate(depths, 1) for _ in range(depth)]
    names = ["stem", *stages, "deconv 1", "deconv 2", "head 0", "deconv 3", "head 1"]
    named = zip(names, operators_of(arch, num_keypoints), strict=True)
    groups = [Group(name, tuple(o for _, o in members)) for name, members in groupby(named, key=lambda pair: pair[0])]
    return sorted(groups, key=lambda group: group.name.startswith("head"))


def describe_subnet(arch: Arch) -> str:
    """Say in a line what a drawing of the subnet shows."""
    stages = ", ".join(f"{len(stage.blocks)} x {stage.channels} channels" for stage in arch.stages)
    deconvs = ", ".join(map(str, arch.deconv_channels))
    return f"{arch.image_size} px input, stem of {arch.stem_channels}, stages of {stages}, fusion deconvs of {deconvs}"


def place_groups(groups: Sequence[Group], widths: Sequence[float]) -> list[PlacedGroup]:
    """Put groups side by side, each into a column of a width."""
    placed, left = [], HEADING
    for group, width in zip(groups, widths, strict=True):
        placed.append(PlacedGroup(group, left))
        left += width + GROUP_GAP
    return placed
