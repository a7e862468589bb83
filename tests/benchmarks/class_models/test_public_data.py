"""Reading the public measurements: shapes and flags by hand, and files that are none of them."""

from pathlib import Path

import public_data
import pytest
from public_data import TimedBlock, TimedConvolution

from litepose_ofa.supernet.archs.operators import Convolution
from litepose_ofa.supernet.errors import InputError

HEADER = "device,model_or_op,in_ch,out_ch,kernel,stride,expand,resolution,out_resolution,latency_ms,note"


def write(folder: Path, name: str, *lines: str, header: str = HEADER) -> Path:
    (folder / name).write_text("\n".join([header, *lines]) + "\n")
    return folder


def test_gpu_convolutions_without_single_pixels(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        public_data.ADRENO_CSV,
        "p,CONV_2D,16,32,3,2,,56,28,0.5,x",
        "p,DEPTHWISE_CONV_2D,32,32,5,1,,28,28,0.25,x",
        "p,CONV_2D,960,40,1,1,,1,1,0.1,squeeze",
        "p,MEAN,32,,1,,,7,,0.1,x",
    )
    assert public_data.adreno_640(folder) == [
        TimedConvolution(Convolution("conv", 16, 32, 3, 56, 28), 0.5),
        TimedConvolution(Convolution("depthwise", 32, 32, 5, 28, 28), 0.25),
    ]


def test_the_best_schedule_of_a_shape_counts(tmp_path: Path) -> None:
    lines = [f"b,{op},8,8,1,1,,14,14,{ms},x" for op, ms in (("conv2d", 3), ("conv2d", 2), ("conv2d_winograd", 1))]
    folder = write(tmp_path, public_data.CORTEX_A72_CSV, *lines)
    assert public_data.cortex_a72(folder) == [TimedConvolution(Convolution("conv", 8, 8, 1, 14, 14), 2.0)]


def test_single_runs_of_the_nano_are_left_out(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        public_data.NANO_CSV,
        "n,depthwise_conv2d,8,8,3,2,,14,7,0.5,long_repeat_timing;depthwise",
        "n,conv2d,8,8,1,1,,14,14,0.7,single_coarse_timing;dense",
    )
    assert public_data.jetson_nano(folder) == [TimedConvolution(Convolution("depthwise", 8, 8, 3, 14, 7), 0.5)]


def test_blocks_and_their_parts(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        public_data.CORTEX_A76_CSV,
        "n,mbconv,32,48,7,2,4,28,14,1.5,net_res=224;count=9;mid=128;skip=0;se=1;hswish=0",
        "n,mbconv,24,24,3,1,1,56,56,0.5,mid=24;skip=1;se=0;hswish=0",
        "n,Conv,3,24,3,2,,112,56,0.2,net_res=112",
    )
    expanded, plain = public_data.cortex_a76_blocks(folder)
    assert expanded == TimedBlock(
        convolutions=(
            Convolution("conv", 32, 128, 1, 28, 28),
            Convolution("depthwise", 128, 128, 7, 28, 14),
            Convolution("conv", 128, 48, 1, 14, 14),
        ),
        stride=2,
        expansion=4,
        squeeze_excitation=True,
        hard_swish=False,
        ms=1.5,
    )
    assert not expanded.is_plain
    assert plain.is_plain
    assert [c.kind for c in plain.convolutions] == ["depthwise", "conv"]
    assert (plain.in_channels, plain.depthwise.kernel) == (24, 3)
    assert public_data.cortex_a76_stems(folder) == [TimedConvolution(Convolution("conv", 3, 24, 3, 112, 56), 0.2)]


def test_pi_blocks_are_those_whose_skip_costs_nothing(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        public_data.PI_BLOCKS_CSV,
        "Raspberry Pi 4,fbnet_mbconv,16,16,5,1,1,32,32,0.6,group=1;skip=identity",
        "Raspberry Pi 4,fbnet_mbconv,16,16,5,1,1,32,32,0.9,group=2;skip=identity",
        "Raspberry Pi 4,fbnet_mbconv,16,24,5,2,3,32,16,0.9,group=1;skip=conv",
        "Google Pixel 3,fbnet_mbconv,16,16,5,1,3,32,32,0.9,group=1;skip=identity",
        "Raspberry Pi 4,constant,,,,,,32,,2.8,stem",
    )
    (block,) = public_data.pi_blocks(folder)
    assert (block.ms, block.expansion, len(block.convolutions)) == (0.6, 1, 3)


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    write(tmp_path, public_data.NANO_CSV, "n,conv2d,8,8,one,1,,14,14,0.7,long_repeat_timing")
    with pytest.raises(InputError, match=r"nano_tvm.*\.csv, line 2: .*'one'"):
        public_data.jetson_nano(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nano_tvm.*\.csv: no such file; give the folder"):
        public_data.jetson_nano(tmp_path)
    write(tmp_path, public_data.NANO_CSV, header=HEADER.replace(",kernel", ""))
    with pytest.raises(InputError, match=r"nano_tvm.*\.csv: the column 'kernel' is missing"):
        public_data.jetson_nano(tmp_path)
