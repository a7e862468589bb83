"""Weights on disk: our files round-trip, published ones load, and nothing bad is taken for good."""

import json
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from supernet.checkpoints import (
    load_subnet,
    load_supernet,
    load_weights,
    read_description,
    read_torch_file,
    read_weights,
    save_network,
    save_subnet,
    save_supernet,
    weights_digest,
)
from supernet.elastic_litepose import LitePoseSupernet
from supernet.errors import InputError
from supernet.extract import extract_subnet
from supernet.litepose import LitePose
from supernet.space import SearchSpace

State = dict[str, Tensor]


@pytest.fixture
def subnet(tiny_supernet: LitePoseSupernet) -> LitePose:
    return extract_subnet(tiny_supernet, tiny_supernet.space.smallest())


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name]), name


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


def test_supernet_round_trip(tiny_supernet: LitePoseSupernet, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "supernet.safetensors"
    save_supernet(path, tiny_supernet, {"step": 7, "note": "ä\n"})
    loaded = load_supernet(str(path))
    assert_equal(loaded, tiny_supernet)
    assert (loaded.space, loaded.num_keypoints, loaded.training) == (tiny_supernet.space, 14, False)
    assert read_description(path) == {
        "kind": "supernet",
        "space": tiny_supernet.space.to_dict(),
        "num_keypoints": 14,
        "info": {"step": 7, "note": "ä\n"},
        "weights": weights_digest(tiny_supernet),
    }
    assert [file.name for file in path.parent.iterdir()] == ["supernet.safetensors"]


def test_subnet_round_trip(subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_subnet(path, subnet)
    loaded = load_subnet(path)
    assert_equal(loaded, subnet)
    assert (loaded.arch, loaded.num_keypoints, loaded.training) == (subnet.arch, 14, False)
    assert read_description(path)["info"] == {}


def test_a_network_is_saved_as_what_it_is(tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path) -> None:
    save_network(tmp_path / "a.safetensors", tiny_supernet, {"step": 1})
    save_supernet(tmp_path / "b.safetensors", tiny_supernet, {"step": 1})
    save_network(tmp_path / "c.safetensors", subnet)
    save_subnet(tmp_path / "d.safetensors", subnet)
    content = {path.name[0]: path.read_bytes() for path in tmp_path.iterdir()}
    assert content["a"] == content["b"] != content["c"] == content["d"]


def test_custom_space_keypoints_and_layout_round_trip(tmp_path: Path, tiny: SearchSpace, randomise: Any) -> None:
    space = SearchSpace.from_dict(tiny.to_dict() | {"name": "mine", "image_sizes": [64]})
    supernet = randomise(LitePoseSupernet(space, 17), 5).to(memory_format=torch.channels_last)
    save_supernet(tmp_path / "mine.safetensors", supernet)
    loaded = load_supernet(tmp_path / "mine.safetensors")
    assert (loaded.space, loaded.num_keypoints) == (space, 17)
    assert_equal(loaded, supernet)


def test_the_same_weights_are_the_same_bytes(subnet: LitePose, tmp_path: Path) -> None:
    for attempt in range(8):
        save_subnet(tmp_path / str(attempt), subnet, {"seed": 0})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_a_failed_save_keeps_the_old_file(subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_subnet(path, subnet)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_subnet(path, subnet, {"no JSON": object()})
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "module.": lambda state: {f"module.{name}": value for name, value in state.items()},
    "1.": lambda state: {f"1.{name}": value for name, value in state.items()},
    "state_dict, module.1.": lambda state: {"state_dict": {f"module.1.{name}": v for name, v in state.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt"])
def test_published_subnet_files_load(wrapping: str, suffix: str, subnet: LitePose, tmp_path: Path) -> None:
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
    with caplog.at_level(logging.INFO, logger="supernet.checkpoints"):
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


def test_files_of_plain_safetensors_load(subnet: LitePose, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"module.{name}": value for name, value in subnet.state_dict().items()}, path)
    other = LitePose(subnet.arch)
    load_weights(other, path)
    assert_equal(other, subnet)
    assert not caplog.records
    with pytest.raises(InputError, match=r"model\.safetensors: was not written by this project"):
        load_subnet(path)


def test_weights_are_converted_to_the_models_dtype(subnet: LitePose, tmp_path: Path) -> None:
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
    wrapping: str, tiny_supernet: LitePoseSupernet, tmp_path: Path, randomise: Any
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


def test_weights_of_another_kind_do_not_fit(tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not fit the model"):
        load_weights(subnet, saved(tmp_path, tiny_supernet.state_dict()))
    with pytest.raises(InputError, match="does not fit the model"):
        load_weights(tiny_supernet, saved(tmp_path, subnet.state_dict()))


@pytest.mark.parametrize(
    "value", [[1, 2], 3, {"a": 1}, {"state_dict": {"a": [1]}}, torch.zeros(2), {1: torch.zeros(2)}]
)
def test_files_without_a_state_dict_are_refused(value: Any, subnet: LitePose, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.pth: holds no state dict \(a dict of tensors"):
        load_weights(subnet, saved(tmp_path, value))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_cut_short_is_refused(share: float, suffix: str, subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(subnet.state_dict(), path)
    else:
        save_subnet(path, subnet)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    before = weights_digest(subnet)
    readers: list[Callable[[], object]] = [lambda: load_weights(subnet, path)]
    if suffix == ".safetensors":
        readers += [lambda: load_subnet(path), lambda: load_supernet(path), lambda: read_description(path)]
    for read in readers:
        with pytest.raises(InputError, match=rf"weights\{suffix}: is damaged or ") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert weights_digest(subnet) == before


def flip_byte(path: Path, place: float) -> None:
    """Flip a bit of one byte of the weights, which lie behind the header; 0 is their first byte, 1 the last."""
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + int(place * (len(content) - 1 - start))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_one_wrong_bit_in_the_weights_is_noticed(
    place: float, tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path
) -> None:
    large, small = tmp_path / "supernet.safetensors", tmp_path / "subnet.safetensors"
    save_supernet(large, tiny_supernet)
    save_subnet(small, subnet)
    for path in (large, small):
        assert read_weights(path).keys()
        flip_byte(path, place)
    readers: dict[Path, list[Callable[[], object]]] = {
        large: [lambda: load_supernet(large), lambda: load_weights(tiny_supernet, large), lambda: read_weights(large)],
        small: [lambda: load_subnet(small), lambda: load_weights(subnet, small), lambda: read_weights(small)],
    }
    before = weights_digest(tiny_supernet), weights_digest(subnet)
    for path, reads in readers.items():
        for read in reads:
            with pytest.raises(InputError) as caught:
                read()
            assert str(caught.value) == f"{path}: is damaged: its weights are not those of its digest"
    assert (weights_digest(tiny_supernet), weights_digest(subnet)) == before


def test_files_from_before_there_was_a_digest_load(subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / "subnet.safetensors"
    save_subnet(path, subnet, {"step": 1})
    description = read_description(path)
    del description["weights"]
    save_file(subnet.state_dict(), path, metadata={"litepose-ofa 1": json.dumps(description)})
    assert_equal(load_subnet(path), subnet)
    assert read_description(path)["info"] == {"step": 1}


class MakesFolder:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused(zipped: bool, subnet: LitePose, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    value = {"state_dict": subnet.state_dict(), "extra": MakesFolder(marker)}
    if zipped:
        torch.save(value, path)
    else:
        path.write_bytes(pickle.dumps(value))
    for read in (lambda: load_weights(subnet, path), lambda: read_torch_file(path)):
        with pytest.raises(InputError, match=r"evil\.pth: is damaged or holds more than tensors") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_missing_files_and_folders_are_named(subnet: LitePose, tmp_path: Path) -> None:
    for name in ("absent.pth", "absent.safetensors"):
        with pytest.raises(InputError, match=f"{name}: no such file"):
            load_weights(subnet, tmp_path / name)
    for load in (load_subnet, load_supernet, read_description):
        with pytest.raises(InputError, match=r"absent\.safetensors: no such file"):
            load(tmp_path / "absent.safetensors")
    for name in ("folder.pth", "folder.safetensors"):
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=f"{name}: is damaged or "):
            load_weights(subnet, tmp_path / name)


def test_a_description_of_another_kind_is_named(
    tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path
) -> None:
    save_supernet(tmp_path / "supernet.safetensors", tiny_supernet)
    save_subnet(tmp_path / "subnet.safetensors", subnet)
    with pytest.raises(InputError, match=r"supernet\.safetensors: holds a supernet, not a subnet"):
        load_subnet(tmp_path / "supernet.safetensors")
    with pytest.raises(InputError, match=r"subnet\.safetensors: holds a subnet, not a supernet"):
        load_supernet(tmp_path / "subnet.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"litepose-ofa 99": json.dumps({"kind": "subnet", "num_keypoints": 14, "info": {}})},
        {"litepose-ofa 1": ""},
        {"litepose-ofa 1": "{"},
        {"litepose-ofa 1": "[]"},
        {"litepose-ofa 1": json.dumps({"space": {}})},
    ],
)
def test_descriptions_that_are_not_ours_are_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    for read in (load_subnet, load_supernet, read_description):
        with pytest.raises(InputError, match=r"other\.safetensors: was not written by this project"):
            read(path)


def test_digest_names_the_weights(subnet: LitePose, tiny_supernet: LitePoseSupernet, tmp_path: Path) -> None:
    digest = weights_digest(subnet)
    assert len(digest) == 12
    save_subnet(tmp_path / "w.safetensors", subnet)
    assert weights_digest(load_subnet(tmp_path / "w.safetensors")) == digest
    assert weights_digest(subnet.to(memory_format=torch.channels_last)) == digest
    assert weights_digest(tiny_supernet) != digest
    subnet.state_dict()["first.3.running_mean"][0] += 1e-6
    assert weights_digest(subnet) != digest
    layer = nn.Linear(1, 1)
    assert weights_digest(nn.ModuleDict({"a": layer})) != weights_digest(nn.ModuleDict({"b": layer}))
