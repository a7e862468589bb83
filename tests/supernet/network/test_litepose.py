"""The static network: published golden values, shapes and checkpoint names."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.litepose import LitePose

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def fill_by_formula(model: LitePose) -> None:
    """Set every tensor by the golden file's formula over the sorted state-dict keys."""
    state = model.state_dict()
    for i, name in enumerate(sorted(state)):
        tensor = state[name]
        wave = torch.sin(0.37 * torch.arange(tensor.numel(), dtype=torch.float64) + i).view(tensor.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.ndim == 4:
            inputs = tensor.shape[0] if name.startswith("deconv") else tensor.shape[1]
            wave *= math.sqrt(4 / (inputs * tensor.shape[2] * tensor.shape[3]))
        elif name.endswith("running_var"):
            wave = 1 + 0.5 * wave**2
        elif name.endswith(("running_mean", "bias")):
            wave *= 0.1
        else:
            wave = 1 + 0.1 * wave
        tensor.copy_(wave)


def formula_images(size: int) -> torch.Tensor:
    """Channel c is sin(0.05 x + 0.07 y + c)."""
    axis = torch.arange(size, dtype=torch.float64)
    channel = torch.arange(3, dtype=torch.float64)[:, None, None]
    return torch.sin(0.05 * axis[None, None, :] + 0.07 * axis[None, :, None] + channel)[None]


@pytest.mark.parametrize("num_keypoints", [14, 17])
@pytest.mark.parametrize("name", ["search-XS", "search-S", "search-M", "search-L"])
@torch.no_grad()
def test_golden_forward(
    name: str, num_keypoints: int, published_archs: dict[str, Arch], reference_path: Callable[[str], Path]
) -> None:
    golden: dict[str, Any] = json.loads(reference_path("golden/litepose_forward.json").read_text())
    model = LitePose(published_archs[name], num_keypoints).double().eval()
    fill_by_formula(model)
    for head, wanted in zip(model(formula_images(128)), golden[f"{name}/{num_keypoints}"], strict=True):
        assert list(head.shape) == wanted["shape"]
        found = {"mean": head.mean(), "std": head.std()} | {key: head.flatten()[int(key)] for key in wanted["samples"]}
        for key, value in {"mean": wanted["mean"], "std": wanted["std"], **wanted["samples"]}.items():
            assert abs(found[key].item() - value) <= 1e-9 * max(1, abs(value)), key


@pytest.mark.parametrize("name", ["search-XS", "search-L", "prune-M"])
def test_checkpoint_names(name: str, published_archs: dict[str, Arch]) -> None:
    """Those of the published state dicts."""
    arch = published_archs[name]
    places = [f"stage.{s}.{b}" for s, depth in enumerate(arch.depths) for b in range(depth)]
    blocks = [f"{place}.{part}" for place in places for part in ("inv", "depth_conv", "point_conv")]
    branches = [f"{branch}.{j}.conv" for branch in ("final_refined", "final_raw") for j in range(2)]
    convolutions = ["first.0.0", "first.1.0", "first.2", *(f"{block}.0" for block in blocks)]
    convolutions += [f"{branch}.{i}" for branch in branches for i in (0, 3)]
    convolutions += [f"{kind}.{i}" for kind in ("deconv_refined", "deconv_raw") for i in range(3)]
    norms = ["first.0.1", "first.1.1", "first.3", *(f"{block}.1" for block in blocks + branches)]
    norms += [f"deconv_bnrelu.{i}.0" for i in range(3)]
    expected = {f"{name}.weight" for name in convolutions} | {f"{name}.{key}" for name in norms for key in BATCH_NORM}
    assert set(LitePose(arch).state_dict()) == expected


def test_sides_are_multiples_of_16_and_heads_are_a_quarter_and_a_half_of_them(tiny: SearchSpace) -> None:
    model = LitePose(tiny.smallest(), 3)
    for height, width in ((64, 64), (96, 64), (16, 48)):
        head0, head1 = model(torch.zeros(2, 3, height, width))
        assert tuple(head0.shape) == (2, 6, height // 4, width // 4)
        assert tuple(head1.shape) == (2, 3, height // 2, width // 2)
    for height, width in ((64, 72), (40, 64)):
        with pytest.raises(ValueError, match=f"images are {height} x {width} pixels; both sides must be multiples of"):
            model(torch.zeros(1, 3, height, width))
