"""Files of others: the published wrappings and names load, what does not fit is named."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_weights, save_subnet, weights_digest
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose

State = dict[str, Tensor]
AssertEqual = Callable[[nn.Module, nn.Module], None]


def published_supernet_state(supernet: LitePoseSupernet) -> State:
    """Return weights under the published names: no matrices of ours, unused Linear layers in every block."""
    state = {name: value for name, value in supernet.state_dict().items() if ".matrix_" not in name}
    for s, stage in enumerate(supernet.space.stages):
        for b in range(stage.depths[-1]):
            for kernel in (3, 5):
                linear = f"stage.{s}.{b}.Linear{kernel}x{kernel}"
                state[f"{linear}.weight"] = torch.rand(kernel**2, kernel**2)
                state[f"{linear}.bias"] = torch.rand(kernel**2)
    return state


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "module.": lambda state: {f"module.{name}": value for name, value in state.items()},
    "1.": lambda state: {f"1.{name}": value for name, value in state.items()},
    "_orig_mod.": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "_orig_mod.module.": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "state_dict, module.1.": lambda state: {"state_dict": {f"module.1.{name}": v for name, v in state.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt"])
def test_published_subnet_files_load(
    wrapping: str, suffix: str, subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual
) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(WRAPPINGS[wrapping](subnet.state_dict()), path)
    other = LitePose(subnet.arch)
    load_weights(other, path)
    assert_equal(other, subnet)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_published_supernet_files_load(
    wrapping: str, tiny_supernet: LitePoseSupernet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "supernet.pth"
    torch.save(WRAPPINGS[wrapping](published_supernet_state(tiny_supernet)), path)
    other = LitePoseSupernet(tiny_supernet.space)
    with caplog.at_level(logging.INFO, logger="litepose_ofa.supernet.network.checkpoints"):
        load_weights(other, path)
    blocks = sum(stage.depths[-1] for stage in tiny_supernet.space.stages)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: left out {4 * blocks} Linear5x5/Linear3x3 tensors, which no published network uses"
    ]
    for name, value in other.state_dict().items():
        if ".matrix_" in name:
            assert torch.equal(value, torch.eye(len(value))), name  # as they were
        else:
            assert torch.equal(value, tiny_supernet.state_dict()[name]), name


def test_files_of_plain_safetensors_load(
    subnet: LitePose, tmp_path: Path, caplog: pytest.LogCaptureFixture, assert_equal: AssertEqual
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"module.{name}": value for name, value in subnet.state_dict().items()}, path)
    other = LitePose(subnet.arch)
    load_weights(other, path)
    assert_equal(other, subnet)
    assert not caplog.records
    with pytest.raises(InputError, match=r"model\.safetensors: was not written by this project"):
        load_subnet(path)


def test_weights_are_converted_to_the_models_dtype(subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual) -> None:
    path = tmp_path / "model.pth"
    torch.save(subnet.state_dict(), path)
    other = LitePose(subnet.arch).double()
    load_weights(other, path)
    assert_equal(other, subnet.double())


def saved(tmp_path: Path, state: Any, suffix: str = ".pth") -> Path:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


def without(state: State, name: str) -> State:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_does_not_fit_is_named_and_changes_nothing(suffix: str, subnet: LitePose, tmp_path: Path) -> None:
    state = subnet.state_dict()
    kernel = "stage.0.0.depth_conv.0.weight"
    shape = tuple(state[kernel].shape)
    cases: list[tuple[State, str]] = [
        (without(state, "first.2.weight"), "it lacks 'first.2.weight' and 0 more"),
        (without(without(state, "first.2.weight"), "first.3.bias"), "it lacks 'first.2.weight' and 1 more"),
        (state | {"head.weight": torch.zeros(1)}, "it has the unknown 'head.weight' and 0 more"),
        (
            without(state, "first.2.weight") | {"head.weight": torch.zeros(1)},
            "it lacks 'first.2.weight' and 0 more; it has the unknown 'head.weight' and 0 more",
        ),
        (
            state | {kernel: torch.zeros(shape[0], 1, 5, 5)},
            f"{kernel} has shape ({shape[0]}, 1, 5, 5), the model needs {shape}",
        ),
    ]
    if suffix == ".pth":
        cases.append(({}, f"it lacks '{sorted(state)[0]}' and {len(state) - 1} more"))
    for wrong, message in cases:
        other = LitePose(subnet.arch)
        before = weights_digest(other)
        path = saved(tmp_path, wrong, suffix)
        with pytest.raises(InputError) as caught:
            load_weights(other, path)
        assert str(caught.value) == f"{path}: does not fit the model: {message}"
        assert weights_digest(other) == before


@pytest.mark.parametrize("wrapping", [*WRAPPINGS, "ours"])
def test_a_trained_full_width_network_is_the_largest_subnet(
    wrapping: str, tiny_supernet: LitePoseSupernet, tmp_path: Path, randomise: Any, assert_equal: AssertEqual
) -> None:
    trained = randomise(LitePose(tiny_supernet.space.largest()), 7).eval()
    if wrapping == "ours":
        path = tmp_path / "trained.safetensors"
        save_subnet(path, trained)
    else:
        path = saved(tmp_path, WRAPPINGS[wrapping](trained.state_dict()))
    before = {name: value.clone() for name, value in tiny_supernet.state_dict().items()}
    load_weights(tiny_supernet, path)
    assert_equal(extract_subnet(tiny_supernet, trained.arch), trained)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = list(zip(tiny_supernet(images, trained.arch), trained(images), strict=True))
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    matrices = {name: value for name, value in tiny_supernet.state_dict().items() if ".matrix_" in name}
    assert len(matrices) == 16
    assert all(torch.equal(value, before[name]) for name, value in matrices.items())


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([1, 2], "one list"),
        (3, "one int"),
        ({"a": 1, "b": {}}, "the keys ['a', 'b']"),
        ({"state_dict": {"a": [1]}}, "the keys ['a']"),
        (torch.zeros(2), "one Tensor"),
        ({1: torch.zeros(2)}, "the keys [1]"),
    ],
)
def test_files_without_a_state_dict_are_refused(value: Any, found: str, subnet: LitePose, tmp_path: Path) -> None:
    path = saved(tmp_path, value)
    with pytest.raises(InputError) as caught:
        load_weights(subnet, path)
    described = "(a dict of tensors, or one under the key state_dict); it has"
    assert str(caught.value) == f"{path}: holds no state dict {described} {found}"
