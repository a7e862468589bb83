"""Public measurements of single convolutions and of inverted bottlenecks, read from a folder of CSVs.

Every CSV has the columns ``model_or_op, in_ch, out_ch, kernel, stride, resolution, out_resolution, latency_ms, note``,
that of blocks ``expand`` too; others are ignored. A resolution is the side of a square map in pixels; ``note`` is
``key=value`` pairs and flags between semicolons.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from litepose_ofa.supernet.archs.operators import Convolution
from litepose_ofa.supernet.errors import InputError

ADRENO_CSV = "sd855_pixel4_tflite_gpu_ops.csv"
CORTEX_A72_CSV = "a72_rk3399_tvm_tophub_ops.csv"
NANO_CSV = "nano_tvm_tophub_ops.csv"
CORTEX_A76_CSV = "sd855_note10_ofa_blocks.csv"
PI_BLOCKS_CSV = "rpi4_hwnasbench_fbnet_blocks.csv"

Row = Mapping[str, str]
Timed = TypeVar("Timed")

_COLUMNS = ("model_or_op", "in_ch", "out_ch", "kernel", "stride", "resolution", "out_resolution", "latency_ms", "note")
_SMALLEST_MAP = 7  # smaller ones are single pixels, of squeeze-and-excitation and classifiers: products with a vector


@dataclass(frozen=True, slots=True)
class TimedConvolution:
    """A convolution, with its batch norm and activation where the source fuses them, and its latency."""

    convolution: Convolution
    ms: float


@dataclass(frozen=True, slots=True)
class TimedBlock:
    """An inverted bottleneck and its latency.

    Attributes:
        convolutions: The convolutions without those of squeeze-and-excitation.
        stride: Of the depthwise convolution.
        expansion: Its channels over the block's input channels.
        squeeze_excitation: Whether the depthwise output is rescaled by channel (ratio 1/4).
        hard_swish: Whether hard swish stands in the place of ReLU.
        ms: Median latency.
    """

    convolutions: tuple[Convolution, ...]
    stride: int
    expansion: int
    squeeze_excitation: bool
    hard_swish: bool
    ms: float

    @property
    def in_channels(self) -> int:
        """Channels of the block's input."""
        return self.convolutions[0].in_channels

    @property
    def is_plain(self) -> bool:
        """Whether the block has neither squeeze-and-excitation nor hard swish, as those of LitePose."""
        return not (self.squeeze_excitation or self.hard_swish)

    @property
    def depthwise(self) -> Convolution:
        """The depthwise convolution."""
        return self.convolutions[-2]


def adreno_640(folder: Path) -> list[TimedConvolution]:
    """Read the convolutions that TensorFlow Lite ran on the Snapdragon 855's GPU, fp16."""
    return _convolutions(folder / ADRENO_CSV, lambda row: row["model_or_op"] in ("CONV_2D", "DEPTHWISE_CONV_2D"))


def cortex_a72(folder: Path) -> list[TimedConvolution]:
    """Read the best of TVM's schedules of each convolution on two Cortex-A72 cores, fp32."""
    best: dict[Convolution, float] = {}
    for timed in _convolutions(folder / CORTEX_A72_CSV, lambda row: "winograd" not in row["model_or_op"]):
        best[timed.convolution] = min(timed.ms, best.get(timed.convolution, timed.ms))
    return [TimedConvolution(convolution, ms) for convolution, ms in best.items()]


def jetson_nano(folder: Path) -> list[TimedConvolution]:
    """Read the convolutions that TVM ran long enough on a Jetson Nano, fp32; the others' single runs are too slow."""
    return _convolutions(folder / NANO_CSV, lambda row: "long_repeat_timing" in row["note"])


def cortex_a76_blocks(folder: Path) -> list[TimedBlock]:
    """Read the inverted bottlenecks of one Cortex-A76 core (Note 10)."""
    return _read(folder / CORTEX_A76_CSV, _block, lambda row: row["model_or_op"] == "mbconv")


def cortex_a76_stems(folder: Path) -> list[TimedConvolution]:
    """Read the first convolutions, 3x3 of stride 2 and followed by hard swish, of the same networks and core."""
    return _convolutions(folder / CORTEX_A76_CSV, lambda row: row["model_or_op"] == "Conv")


def pi_blocks(folder: Path) -> list[TimedBlock]:
    """Read the Raspberry Pi 4's inverted bottlenecks without grouped 1x1 convolutions, of blocks that may be skipped.

    Their latencies are relative to the skip of the same shape, which costs nothing where channels and size stay.
    """
    return _read(
        folder / PI_BLOCKS_CSV,
        partial(_block, always_expands=True),
        lambda row: (
            row["model_or_op"] == "fbnet_mbconv"
            and "Pi 4" in row["device"]
            and "group=1" in row["note"]
            and (row["in_ch"], row["stride"]) == (row["out_ch"], "1")
        ),
    )


def _convolutions(path: Path, wanted: Callable[[Row], bool]) -> list[TimedConvolution]:
    timed = _read(path, _convolution, lambda row: wanted(row) and bool(row["out_resolution"]))
    return [t for t in timed if t.convolution.in_size >= _SMALLEST_MAP]


def _convolution(row: Row) -> TimedConvolution:
    depthwise = "depthwise" in row["model_or_op"].lower()
    c_in, c_out, kernel, size, out = _integers(row, "in_ch", "out_ch", "kernel", "resolution", "out_resolution")
    convolution = Convolution("depthwise" if depthwise else "conv", c_in, c_out, kernel, size, out)
    return TimedConvolution(convolution, float(row["latency_ms"]))


def _block(row: Row, *, always_expands: bool = False) -> TimedBlock:
    c_in, c_out, kernel, stride, size, out = _integers(
        row, "in_ch", "out_ch", "kernel", "stride", "resolution", "out_resolution"
    )
    note = dict(part.partition("=")[::2] for part in row["note"].split(";"))
    hidden = c_in * int(row["expand"])
    convolutions = (
        Convolution("conv", c_in, hidden, 1, size, size),
        Convolution("depthwise", hidden, hidden, kernel, size, out),
        Convolution("conv", hidden, c_out, 1, out, out),
    )
    return TimedBlock(
        convolutions=convolutions if hidden > c_in or always_expands else convolutions[1:],
        stride=stride,
        expansion=hidden // c_in,
        squeeze_excitation=note.get("se") == "1",
        hard_swish=note.get("hswish") == "1",
        ms=float(row["latency_ms"]),
    )


def _integers(row: Row, *columns: str) -> tuple[int, ...]:
    return tuple(int(row[column]) for column in columns)


def _read(path: Path, parse: Callable[[Row], Timed], wanted: Callable[[Row], bool]) -> list[Timed]:
    timed = []
    for line, row in enumerate(_rows(path), start=2):
        try:
            if wanted(row):
                timed.append(parse(row))
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
    return timed


def _rows(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows: list[Row] = list(reader)
            columns = reader.fieldnames or ()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; data must be the folder of the public measurements") from None
    for column in _COLUMNS:
        if column not in columns:
            raise InputError(f"{path}: the column {column!r} is missing; it must have {', '.join(_COLUMNS)}")
    return rows
