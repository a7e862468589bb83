"""What was saved comes back; published wrappings and names load; what does not fit is named."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import (
    FORMAT,
    load_subnet,
    load_supernet,
    load_weights,
    read_description,
    read_skeleton,
    save_network,
    weights_digest,
)
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose

State = dict[str, Tensor]
AssertEqual = Callable[[nn.Module, nn.Module], None]
OWN = Skeleton("own", ("a", "b", "c"), ((0, 1),), (0.1, 0.2, 0.3), "box", ((0, 2),))

WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "1.": lambda state: {f"1.{name}": value for name, value in state.items()},
    "_orig_mod.module.": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "state_dict, module.1.": lambda state: {"state_dict": {f"module.1.{name}": v for name, v in state.items()}},
}


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


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar"])
def test_published_subnet_files_load(
    wrapping: str, suffix: str, subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual
) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save(WRAPPINGS[wrapping](subnet.state_dict()), path)
    other = LitePose(subnet.arch).double()
    load_weights(other, path)
    assert_equal(other, subnet.double())


def test_safetensors_of_others_load(subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"module.{name}": value for name, value in subnet.state_dict().items()}, path)
    other = LitePose(subnet.arch)
    load_weights(other, path)
    assert_equal(other, subnet)


@pytest.mark.parametrize("wrapping", ["plain", "state_dict, module.1."])
def test_published_supernet_files_load(
    wrapping: str, tiny_supernet: LitePoseSupernet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "supernet.pth"
    torch.save(WRAPPINGS[wrapping](published_supernet_state(tiny_supernet)), path)
    other = LitePoseSupernet(tiny_supernet.space)
    with caplog.at_level(logging.INFO, logger="litepose_ofa.supernet.network.checkpoints"):
        load_weights(other, path)
    blocks = sum(stage.depths[-1] for stage in tiny_supernet.space.stages)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: left out {4 * blocks} Linear5x5/Linear3x3 tensors")
    for name, value in other.state_dict().items():
        as_they_were = torch.eye(len(value)) if ".matrix_" in name else tiny_supernet.state_dict()[name]
        assert torch.equal(value, as_they_were), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("missing", "extra", "message"),
    [
        (["first.2.weight", "first.3.bias"], {}, "it lacks 'first.2.weight' and 1 more"),
        (
            ["first.2.weight"],
            {"head.weight": torch.zeros(1)},
            "it lacks 'first.2.weight' and 0 more; it has the unknown 'head.weight' and 0 more",
        ),
        (
            [],
            {"first.0.0.weight": torch.zeros(1, 3, 5, 5)},
            "first.0.0.weight has shape (1, 3, 5, 5), the model needs (32, 3, 3, 3)",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    missing: list[str], extra: State, message: str, suffix: str, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    write = torch.save if suffix == ".pth" else save_file
    write({name: value for name, value in subnet.state_dict().items() if name not in missing} | extra, path)
    before = weights_digest(subnet)
    with pytest.raises(InputError) as caught:
        load_weights(subnet, path)
    assert str(caught.value) == f"{path}: does not fit the model: {message}"
    assert weights_digest(subnet) == before


@pytest.mark.parametrize("ours", [False, True])
def test_a_trained_full_width_network_is_the_largest_subnet(
    ours: bool, tiny_supernet: LitePoseSupernet, tmp_path: Path, randomise: Any, assert_equal: AssertEqual
) -> None:
    trained, path = randomise(LitePose(tiny_supernet.space.largest()), 7).eval(), tmp_path / "trained.safetensors"
    save_network(path, trained)
    if not ours:
        path = path.with_suffix(".pth")
        torch.save(trained.state_dict(), path)
    before = {name: value.clone() for name, value in tiny_supernet.state_dict().items() if ".matrix_" in name}
    load_weights(tiny_supernet, path)
    assert_equal(extract_subnet(tiny_supernet, trained.arch), trained)
    assert len(before) == 16
    assert all(torch.equal(value, tiny_supernet.state_dict()[name]) for name, value in before.items())


def test_supernet_round_trip(tiny: SearchSpace, randomise: Any, tmp_path: Path, assert_equal: AssertEqual) -> None:
    space = SearchSpace.from_dict(tiny.to_dict() | {"name": "mine", "image_sizes": [64]})
    supernet = randomise(LitePoseSupernet(space, 17), 5).to(memory_format=torch.channels_last)
    path = tmp_path / "runs" / "supernet.safetensors"
    save_network(path, supernet, {"step": 7, "note": "ä\n"})
    loaded = load_supernet(str(path))
    assert_equal(loaded, supernet)
    assert (loaded.space, loaded.num_keypoints, loaded.training) == (space, 17, False)
    assert read_description(path) == {
        "kind": "supernet",
        "space": space.to_dict(),
        "num_keypoints": 17,
        "info": {"step": 7, "note": "ä\n"},
        "weights": weights_digest(supernet),
    }
    assert [file.name for file in path.parent.iterdir()] == ["supernet.safetensors"]


def test_weights_carry_their_skeleton_if_it_is_known(tiny: SearchSpace, tmp_path: Path) -> None:
    path, subnet = tmp_path / "a.safetensors", LitePose(tiny.smallest(), 3)
    for skeleton in (OWN, None):
        save_network(path, subnet, {"step": 1}, skeleton=skeleton)
        assert read_skeleton(path) == skeleton
        assert read_description(path)["info"] == {"step": 1}
        assert load_subnet(path).num_keypoints == 3


def test_the_same_weights_are_the_same_bytes(subnet: LitePose, tmp_path: Path) -> None:
    for attempt in range(3):
        save_network(tmp_path / str(attempt), subnet, {"seed": 0})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_files_from_before_there_was_a_digest_load(subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual) -> None:
    path = tmp_path / "subnet.safetensors"
    save_network(path, subnet)
    description = read_description(path)
    del description["weights"]
    save_file(subnet.state_dict(), path, metadata={FORMAT: json.dumps(description)})
    assert_equal(load_subnet(path), subnet)


def test_digest_names_the_weights(subnet: LitePose, tiny_supernet: LitePoseSupernet) -> None:
    digest = weights_digest(subnet)
    assert len(digest) == 12
    assert weights_digest(subnet.to(memory_format=torch.channels_last)) == digest
    assert weights_digest(tiny_supernet) != digest
    subnet.state_dict()["first.3.running_mean"][0] += 1e-6
    assert weights_digest(subnet) != digest
    layer = nn.Linear(1, 1)
    assert weights_digest(nn.ModuleDict({"a": layer})) != weights_digest(nn.ModuleDict({"b": layer}))
