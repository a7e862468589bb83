"""ONNX files of both formats are what torch computes, in every opset, or one line says what is wrong."""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.formats import TOLERANCE, ParityError, measure_parity
from litepose_ofa.supernet.export.onnx_graph import OPSETS
from litepose_ofa.supernet.export.onnx_model import OnnxFormat
from litepose_ofa.supernet.export.peaks import OnnxPeaksFormat
from litepose_ofa.supernet.network.litepose import LitePose

FORMATS = [OnnxFormat(), OnnxPeaksFormat(), OnnxFormat(batch="dynamic"), OnnxPeaksFormat(batch="dynamic", most=7)]


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: f"{fmt.name}-{fmt.batch}")
def test_what_is_written_is_what_torch_computes(
    fmt: OnnxFormat, subnet: LitePose, images: Tensor, tmp_path: Path
) -> None:
    fmt.write(tmp_path, subnet)
    assert tuple(path.name for path in tmp_path.iterdir()) == fmt.files
    parity = measure_parity(fmt, tmp_path, subnet, images.numpy())
    assert parity.images == len(images)
    assert parity.max_abs_difference <= TOLERANCE < parity.max_abs_output
    found = onnx.load(tmp_path / fmt.files[0])
    described = fmt.describe()
    assert described["opset"] == found.opset_import[0].version
    assert described["ir_version"] == found.ir_version
    assert described["runtime_version"] == onnxruntime.__version__
    assert described["batch"] == (1 if fmt.batch == "one" else "dynamic")


@pytest.mark.parametrize("opset", OPSETS)
def test_peaks_run_in_every_opset(opset: int, subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    fmt = OnnxPeaksFormat(opset=opset)
    fmt.write(tmp_path, subnet)
    onnx.checker.check_model(onnx.load(tmp_path / fmt.files[0]), full_check=True)
    measure_parity(fmt, tmp_path, subnet, images[:1].numpy())


@pytest.mark.parametrize("fmt", FORMATS[:2], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("change", [0.01, np.nan])
def test_other_weights_are_noticed(
    fmt: OnnxFormat, change: float, subnet: LitePose, images: Tensor, tmp_path: Path
) -> None:
    fmt.write(tmp_path, subnet)
    other = copy.deepcopy(subnet)
    with torch.no_grad():
        other.get_parameter("first.0.0.weight")[0] += change
    with pytest.raises(ParityError, match=f"{fmt.name}: differs from torch by .*; at most 1e-04 is accepted"):
        measure_parity(fmt, tmp_path, other, images.numpy())


def test_other_peaks_are_noticed(subnet: LitePose, images: Tensor, tmp_path: Path) -> None:
    OnnxPeaksFormat(threshold=3).write(tmp_path, subnet)
    with pytest.raises(ParityError):
        measure_parity(OnnxPeaksFormat(), tmp_path, subnet, images.numpy())


@pytest.mark.parametrize("fmt", FORMATS[:2], ids=lambda fmt: fmt.name)
def test_files_that_do_not_run_are_named(fmt: OnnxFormat, subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / fmt.files[0]
    with pytest.raises(InputError, match=f"{path}: no such file"):
        fmt.open(tmp_path)
    fmt.write(tmp_path, subnet)
    content = path.read_bytes()
    for damaged in (b"", b"no network", content[:1000], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{path}: ") as raised:
            fmt.open(tmp_path)
        assert "\n" not in str(raised.value)


def test_one_format_s_file_is_not_the_other_s(subnet: LitePose, tmp_path: Path) -> None:
    heads, peaks = OnnxFormat(), OnnxPeaksFormat()
    heads.write(tmp_path, subnet)
    (tmp_path / heads.files[0]).rename(tmp_path / peaks.files[0])
    with pytest.raises(InputError, match="outputs head0, head1; it must have scores, locations, tags"):
        peaks.open(tmp_path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"most": 0}, "most is 0; it must be at least 1"),
        ({"threshold": -0.1}, "threshold is -0.1; it must be at least 0"),
        ({"opset": 12}, "opset is 12; it must be 13 to 22"),
        ({"batch": "two"}, "batch is 'two'; it must be one or dynamic"),
    ],
)
def test_impossible_options_are_named(options: dict[str, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        OnnxPeaksFormat(**options)  # type: ignore[arg-type]
