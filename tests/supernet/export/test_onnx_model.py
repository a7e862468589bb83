"""The ONNX file computes what the network computes, and says so if it does not."""

import copy
import math
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from supernet.export.onnx_model import OPSET, ParityError, measure_parity
from supernet.litepose import LitePose


def test_onnx_runtime_and_torch_agree_with_kernels_3_5_and_7(folder: Path, subnet: LitePose) -> None:
    assert {block.kernel for stage in subnet.arch.stages for block in stage.blocks} == {3, 5, 7}
    images = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        spread = min(float(head.std()) for head in subnet(images))
    assert spread > 0.01, "outputs near zero would agree with anything"
    assert measure_parity(folder / "model.onnx", subnet, images) <= 1e-4


def test_the_file_is_one_valid_model_with_plain_names(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")] == [OPSET]
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": [1, 3, 96, 96], "head0": [1, 28, 24, 24], "head1": [1, 14, 48, 48]}
    assert not any(tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.parametrize("change", [0.01, math.nan])
def test_other_weights_are_noticed(folder: Path, subnet: LitePose, images: Tensor, change: float) -> None:
    subnet = copy.deepcopy(subnet)
    with torch.no_grad():
        subnet.get_parameter("first.0.0.weight")[0] += change
    with pytest.raises(ParityError, match=r"model\.onnx: differs from torch by .*; at most 1e-04 is accepted"):
        measure_parity(folder / "model.onnx", subnet, images)
