"""An architecture as a value, and its published JSON form.

Source: Wang et al., Lite Pose (arXiv:2205.01271); the JSON is the one of mit-han-lab/litepose.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, Self

from litepose_ofa.supernet.errors import InputError, located, require_keys, shown
from litepose_ofa.supernet.files import read_json, read_yaml, write_json, write_text

STAGE_STRIDES = (2, 2, 2, 1)
"""Strides of the four stages. The fusion deconvs add feature maps of these sizes, so no others fit together."""

SIZE_MULTIPLE = 16
"""An input side is a multiple of this: the stem and the stages halve it four times."""

LARGEST_SIDE, LARGEST_WIDTH, LARGEST_EXPANSION, LARGEST_KERNEL, MOST_BLOCKS = 4096, 16384, 32, 31, 64
MOST_KEYPOINTS = 1000
"""Far above any sensible network, so that no file can ask for what a machine does not have."""


@dataclass(frozen=True, slots=True)
class BlockArch:
    """One inverted bottleneck: hidden width = expansion x input width; depthwise kernel size in pixels."""

    expansion: int
    kernel: int


@dataclass(frozen=True, slots=True)
class StageArch:
    """One stage: its output width, the stride of its first block, and its blocks."""

    channels: int
    stride: int
    blocks: tuple[BlockArch, ...]


@dataclass(frozen=True)
class Arch:
    """A LitePose architecture: hashable, comparable, picklable.

    Attributes:
        image_size: Short side of the input in pixels, a multiple of 16.
        stem_channels: Width of the stem's output (C0).
        stages: The four backbone stages.
        deconv_channels: Widths of the three fusion deconvs (D0, D1, D2).

    Raises:
        InputError: If a value is impossible; the message names the field.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> arch = SearchSpace.preset("litepose").largest()
        >>> Arch.from_dict(arch.to_dict()) == arch
        True
    """

    image_size: int
    stem_channels: int
    stages: tuple[StageArch, ...]
    deconv_channels: tuple[int, ...]

    def __post_init__(self) -> None:
        for field, value in (("stages", self.stages), ("deconv_channels", self.deconv_channels)):
            if not isinstance(value, tuple):
                _refuse(field, value, "a tuple")
        _require_positive("img_size", self.image_size, LARGEST_SIDE)
        if self.image_size % SIZE_MULTIPLE:
            _refuse("img_size", self.image_size, f"a multiple of {SIZE_MULTIPLE}")
        _require_positive("input_channel", self.stem_channels)
        if len(self.deconv_channels) != 3:
            _refuse("deconv_setting", list(self.deconv_channels), "three widths")
        for i, width in enumerate(self.deconv_channels):
            _require_positive(f"deconv_setting[{i}]", width)
        if len(self.stages) != len(STAGE_STRIDES):
            _refuse("backbone_setting", f"{len(self.stages)} stages", f"{len(STAGE_STRIDES)} stages")
        for s, (stage, stride) in enumerate(zip(self.stages, STAGE_STRIDES, strict=True)):
            where = f"backbone_setting[{s}]"
            _require_positive(f"{where}.channel", stage.channels)
            if type(stage.stride) is not int or stage.stride != stride:
                _refuse(f"{where}.stride", stage.stride, f"{stride} (the fusion deconvs need strides {STAGE_STRIDES})")
            if not 1 <= len(stage.blocks) <= MOST_BLOCKS:
                _refuse(f"{where}.num_blocks", len(stage.blocks), f"from 1 to {MOST_BLOCKS} blocks")
            for b, block in enumerate(stage.blocks):
                _require_positive(f"{where}.block_setting[{b}] expansion", block.expansion, LARGEST_EXPANSION)
                _require_positive(f"{where}.block_setting[{b}] kernel", block.kernel, LARGEST_KERNEL)
                if block.kernel % 2 == 0:
                    _refuse(f"{where}.block_setting[{b}] kernel", block.kernel, "an odd number")

    @classmethod
    def from_dict(cls, published: Mapping[str, Any]) -> Self:
        """Build an architecture from the published JSON form.

        Raises:
            InputError: If a key is unknown or missing, or a value has the wrong type or is impossible.
        """
        top = require_keys(
            "architecture", published, ("img_size", "input_channel", "deconv_setting", "backbone_setting")
        )
        stages = []
        for s, setting in enumerate(_items("backbone_setting", top["backbone_setting"])):
            where = f"backbone_setting[{s}]"
            stage = require_keys(where, setting, ("num_blocks", "stride", "channel", "block_setting"))
            blocks = [
                BlockArch(*_items(f"{where}.block_setting[{b}]", pair, length=2))
                for b, pair in enumerate(_items(f"{where}.block_setting", stage["block_setting"]))
            ]
            if type(stage["num_blocks"]) is not int or stage["num_blocks"] != len(blocks):
                _refuse(f"{where}.num_blocks", stage["num_blocks"], f"{len(blocks)}, the length of block_setting")
            stages.append(StageArch(stage["channel"], stage["stride"], tuple(blocks)))
        deconv = tuple(_items("deconv_setting", top["deconv_setting"]))
        return cls(top["img_size"], top["input_channel"], tuple(stages), deconv)

    def to_dict(self) -> dict[str, Any]:
        """Return the published JSON form."""
        return {
            "img_size": self.image_size,
            "input_channel": self.stem_channels,
            "deconv_setting": list(self.deconv_channels),
            "backbone_setting": [
                {
                    "num_blocks": len(stage.blocks),
                    "stride": stage.stride,
                    "channel": stage.channels,
                    "block_setting": [[block.expansion, block.kernel] for block in stage.blocks],
                }
                for stage in self.stages
            ],
        }

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks of every stage."""
        return tuple(len(stage.blocks) for stage in self.stages)

    @property
    def chosen(self) -> dict[str, int]:
        """The value of every choice, by its name: a block's is ``stage0.block1.kernel``."""
        chosen = {"image_size": self.image_size, "stem": self.stem_channels}
        for s, stage in enumerate(self.stages):
            chosen |= {f"stage{s}.width": stage.channels, f"stage{s}.depth": len(stage.blocks)}
            for b, block in enumerate(stage.blocks):
                chosen[f"stage{s}.block{b}.kernel"] = block.kernel
                chosen[f"stage{s}.block{b}.expansion"] = block.expansion
        return chosen | {f"deconv{i}": width for i, width in enumerate(self.deconv_channels)}

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read an architecture from a ``.json``, ``.yaml`` or ``.yml`` file.

        Raises:
            InputError: If the file cannot be read or does not hold an architecture; the message names the file.
        """
        path = Path(path)
        reader = {".json": read_json, ".yaml": read_yaml, ".yml": read_yaml}.get(path.suffix)
        if reader is None:
            raise InputError(f"{path}: an architecture file ends in .json, .yaml or .yml")
        value = reader(path)
        with located(path):
            return cls.from_dict(value)

    def save(self, path: Path | str) -> None:
        """Write the published form as ``.json`` or ``.yaml``."""
        path = Path(path)
        if path.suffix == ".json":
            write_json(path, self.to_dict())
        elif path.suffix in {".yaml", ".yml"}:
            import yaml

            write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None))
        else:
            raise InputError(f"{path}: an architecture file ends in .json, .yaml or .yml")

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON: a name for files and caches."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def with_image_size(self, image_size: int) -> Self:
        """Return the same network at another input size."""
        return dataclasses.replace(self, image_size=image_size)


def _refuse(field: str, value: object, allowed: str) -> NoReturn:
    raise InputError(f"{field} is {shown(value)}; it must be {allowed}")


def _require_positive(field: str, value: object, most: int = LARGEST_WIDTH) -> None:
    if type(value) is not int or not 1 <= value <= most:
        _refuse(field, value, f"a positive integer of at most {most}")


def _items(where: str, value: object, length: int | None = None) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        _refuse(where, value, "a list")
    if length is not None and len(value) != length:
        _refuse(where, value, f"a list of {length}")
    return value
