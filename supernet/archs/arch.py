"""An architecture as a value, and its published JSON form.

Source: Wang et al., Lite Pose (arXiv:2205.01271); the JSON is the one of mit-han-lab/litepose.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, Strict, model_validator

from litepose_ofa.supernet.errors import InputError, located, require
from litepose_ofa.supernet.files import read_json, read_yaml, write_json, write_text
from litepose_ofa.supernet.validation import Allowed, Checked, validate

STAGE_STRIDES = (2, 2, 2, 1)
"""Strides of the four stages. The fusion deconvs add feature maps of these sizes, so no others fit together."""

SIZE_MULTIPLE = 16
"""An input side is a multiple of this: the stem and the stages halve it four times."""

LARGEST_SIDE, MOST_BLOCKS = 4096, 64
MOST_KEYPOINTS = 1000
"""Far above any sensible network, like the limits below, so that no file can ask for what a machine does not have."""

SIZES = f"a multiple of {SIZE_MULTIPLE} of at most {LARGEST_SIDE}"

ImageSize = Annotated[int, Field(gt=0, le=LARGEST_SIDE, multiple_of=SIZE_MULTIPLE), Allowed(SIZES)]
Width = Annotated[int, Field(ge=1, le=16384)]
Block = Annotated[tuple[Annotated[int, Field(ge=1, le=32)], Annotated[int, Field(ge=1, le=31)]], Strict(False)]


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


class _PublishedStage(Checked):
    num_blocks: int
    stride: int
    channel: Width
    block_setting: Annotated[
        list[Block],
        Field(min_length=1, max_length=MOST_BLOCKS),
        Allowed("a list of 1 to 64 pairs: an expansion from 1 to 32, and an odd kernel size up to 31"),
    ]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        length = len(self.block_setting)
        require(self.num_blocks == length, "num_blocks", self.num_blocks, f"{length}, the length of block_setting")
        for number, (_, kernel) in enumerate(self.block_setting):
            require(kernel % 2 == 1, f"block_setting[{number}]: the kernel", kernel, "an odd number")
        return self


class _Published(Checked):
    img_size: ImageSize
    input_channel: Width
    deconv_setting: Annotated[list[Width], Field(min_length=3, max_length=3), Allowed("a list of three widths")]
    backbone_setting: Annotated[list[_PublishedStage], Field(min_length=4, max_length=4), Allowed("a list of 4 stages")]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        strides = tuple(stage.stride for stage in self.backbone_setting)
        require(strides == STAGE_STRIDES, "the strides of the stages", strides, f"{STAGE_STRIDES}, as the deconvs need")
        return self


@dataclass(frozen=True)
class Arch:
    """A LitePose architecture: hashable, comparable, picklable. Its values are checked where it comes from a file.

    Attributes:
        image_size: Short side of the input in pixels, a multiple of 16.
        stem_channels: Width of the stem's output (C0).
        stages: The four backbone stages.
        deconv_channels: Widths of the three fusion deconvs (D0, D1, D2).

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

    @classmethod
    def from_dict(cls, published: Mapping[str, Any]) -> Self:
        """Build an architecture from the published JSON form.

        Raises:
            InputError: If a key is unknown or missing, or a value has the wrong type or is impossible.
        """
        plain = validate(_Published, published, "architecture")
        stages = tuple(
            StageArch(stage.channel, stage.stride, tuple(BlockArch(*block) for block in stage.block_setting))
            for stage in plain.backbone_setting
        )
        return cls(plain.img_size, plain.input_channel, stages, tuple(plain.deconv_setting))

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
        """Read an architecture from a ``.json``, ``.yaml`` or ``.yml`` file."""
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
            write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None))
        else:
            raise InputError(f"{path}: an architecture file ends in .json, .yaml or .yml")

    @cached_property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the canonical JSON: a name for files and caches."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def with_image_size(self, image_size: int) -> Self:
        """Return the same network at another input size, which must be a multiple of 16."""
        fits = image_size % SIZE_MULTIPLE == 0 and 0 < image_size <= LARGEST_SIDE
        require(fits, "img_size", image_size, SIZES)
        return dataclasses.replace(self, image_size=image_size)
