"""What was saved comes back, published files load; files cut short, flipped bits and pickles that run code do not."""

import json
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, NotFiniteError
from litepose_ofa.supernet.network.checkpoints import (
    FORMAT,
    load_subnet,
    load_supernet,
    load_weights,
    read_description,
    read_skeleton,
    read_weights,
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


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_published_subnet_files_load(
    wrapping: str, subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual
) -> None:
    values, paths = WRAPPINGS[wrapping](subnet.state_dict()), [tmp_path / "model.pth", tmp_path / "model.pth.tar"]
    for path in paths:
        torch.save(values, path)
    if "state_dict" not in values:
        paths.append(tmp_path / "model.safetensors")
        save_file(values, paths[-1])
    for path in paths:
        other = LitePose(subnet.arch)
        load_weights(other.double(), path)
        assert_equal(other.float(), subnet)


def test_published_supernet_files_load(
    tiny_supernet: LitePoseSupernet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no matrices of ours, and unused Linear layers in every block."""
    path, own = tmp_path / "supernet.pth", tiny_supernet.state_dict()
    published = {name: value for name, value in own.items() if ".matrix_" not in name}
    blocks = [f"stage.{s}.{b}" for s, stage in enumerate(tiny_supernet.space.stages) for b in range(stage.depths[-1])]
    linears = [f"{block}.Linear{kernel}" for block in blocks for kernel in ("3x3", "5x5")]
    published |= {f"{linear}.{name}": torch.rand(9) for linear in linears for name in ("weight", "bias")}
    torch.save(WRAPPINGS["state_dict, module.1."](published), path)
    other = LitePoseSupernet(tiny_supernet.space)
    with caplog.at_level(logging.INFO, logger="litepose_ofa.supernet.network.checkpoints"):
        load_weights(other, path)
    assert f"{path}: left out {2 * len(linears)} Linear5x5/Linear3x3 tensors" in caplog.text
    for name, value in other.state_dict().items():
        assert torch.equal(value, torch.eye(len(value)) if ".matrix_" in name else own[name]), name


SHAPE = "first.0.0.weight has shape (1, 3, 5, 5), the model needs (32, 3, 3, 3)"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("missing", "extra", "message"),
    [
        (["first.2.weight", "first.3.bias"], {}, "it lacks 'first.2.weight' and 1 more"),
        ([], {"head.weight": torch.zeros(1)}, "it has the unknown 'head.weight' and 0 more"),
        ([], {"first.0.0.weight": torch.zeros(1, 3, 5, 5)}, SHAPE),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    missing: list[str], extra: State, message: str, suffix: str, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    state = {name: value for name, value in subnet.state_dict().items() if name not in missing} | extra
    (torch.save if suffix == ".pth" else save_file)(state, path)
    before = weights_digest(subnet)
    with pytest.raises(InputError) as caught:
        load_weights(subnet, path)
    assert str(caught.value) == f"{path}: does not fit the model: {message}"
    assert weights_digest(subnet) == before


def test_a_trained_full_width_network_is_the_largest_subnet(
    tiny_supernet: LitePoseSupernet, tmp_path: Path, randomise: Any, assert_equal: AssertEqual
) -> None:
    before = {name: value.clone() for name, value in tiny_supernet.state_dict().items() if ".matrix_" in name}
    assert len(before) == 16
    for seed, path in enumerate((tmp_path / "trained.safetensors", tmp_path / "trained.pth")):
        trained = randomise(LitePose(tiny_supernet.space.largest()), seed).eval()
        if path.suffix == ".pth":
            torch.save(trained.state_dict(), path)
        else:
            save_network(path, trained)
        load_weights(tiny_supernet, path)
        assert_equal(extract_subnet(tiny_supernet, trained.arch), trained)
        assert all(torch.equal(value, tiny_supernet.state_dict()[name]) for name, value in before.items())


def test_supernet_round_trip(tiny: SearchSpace, randomise: Any, tmp_path: Path, assert_equal: AssertEqual) -> None:
    space = SearchSpace.from_dict(tiny.to_dict() | {"name": "mine", "image_sizes": [64]})
    supernet = randomise(LitePoseSupernet(space, 17), 5).to(memory_format=torch.channels_last)
    path = tmp_path / "runs" / "supernet.safetensors"
    save_network(path, supernet)
    assert read_skeleton(path) is None
    save_network(path, supernet, {"step": 7, "note": "ä\n"}, skeleton=OWN)
    loaded = load_supernet(str(path))
    assert read_skeleton(path) == OWN
    assert_equal(loaded, supernet)
    assert (loaded.space, loaded.num_keypoints, loaded.training) == (space, 17, False)
    assert read_description(path) == {
        "kind": "supernet",
        "space": space.to_dict(),
        "num_keypoints": 17,
        "info": {"step": 7, "note": "ä\n"},
        "weights": weights_digest(supernet),
        "skeleton": OWN.to_dict(),
    }
    assert [file.name for file in path.parent.iterdir()] == ["supernet.safetensors"]


def test_the_same_weights_are_the_same_bytes(subnet: LitePose, tmp_path: Path) -> None:
    for attempt in range(3):
        save_network(tmp_path / str(attempt), subnet, {"seed": 0})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_digest_names_the_weights(subnet: LitePose) -> None:
    digest = weights_digest(subnet)
    assert len(digest) == 12
    assert weights_digest(subnet.to(memory_format=torch.channels_last)) == digest
    subnet.state_dict()["first.3.running_mean"][0] += 1e-6
    assert weights_digest(subnet) != digest
    layer = nn.Linear(1, 1)
    assert weights_digest(nn.ModuleDict({"a": layer})) != weights_digest(nn.ModuleDict({"b": layer}))


@pytest.fixture(params=[".pth", ".safetensors"])
def saved(request: pytest.FixtureRequest, subnet: LitePose, tmp_path: Path) -> Path:
    """A file of the subnet's weights."""
    path: Path = tmp_path / f"weights{request.param}"
    if request.param == ".pth":
        torch.save(subnet.state_dict(), path)
    else:
        save_network(path, subnet)
    return path


def readers_of(path: Path, network: LitePose) -> list[Callable[[Path], Any]]:
    readers: list[Callable[[Path], Any]] = [lambda path: load_weights(network, path)]
    return readers if path.suffix == ".pth" else [*readers, load_subnet, load_supernet, read_description]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_refused(share: float, subnet: LitePose, saved: Path) -> None:
    content, before = saved.read_bytes(), weights_digest(subnet)
    saved.write_bytes(content[: int(share * len(content))])
    for read in readers_of(saved, subnet):
        with pytest.raises(InputError, match=rf"weights\{saved.suffix}: is damaged or ") as caught:
            read(saved)
        assert "\n" not in str(caught.value)
    assert weights_digest(subnet) == before


def test_missing_files_and_folders_are_named(subnet: LitePose, saved: Path) -> None:
    readers = readers_of(saved, subnet)
    for change, problem in ((saved.unlink, "no such file"), (saved.mkdir, "is damaged or ")):
        change()
        for read in readers:
            with pytest.raises(InputError, match=rf"weights\{saved.suffix}: {problem}"):
                read(saved)


@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_one_wrong_bit_in_the_weights_is_noticed(place: float, subnet: LitePose, tmp_path: Path) -> None:
    path, before = tmp_path / "network.safetensors", weights_digest(subnet)
    save_network(path, subnet)
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")  # the weights lie behind the header
    content[start + int(place * (len(content) - 1 - start))] ^= 1
    path.write_bytes(content)
    for read in (load_subnet, read_weights, lambda path: load_weights(subnet, path)):
        with pytest.raises(InputError, match="is damaged: its weights are not those of its digest"):
            read(path)
    assert weights_digest(subnet) == before


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
    with pytest.raises(InputError, match=r"evil\.pth: (is damaged or )?holds more than tensors") as caught:
        load_weights(subnet, path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "holds no state dict .* it has one list"),
        ({1: torch.zeros(2), "b": {}}, r"holds no state dict .* it has the keys \[1, 'b'\]"),
        ({"perf": np.float64(0.71)}, r"holds more than tensors and plain values: numpy\."),
    ],
)
def test_files_without_a_state_dict_are_refused(value: Any, message: str, subnet: LitePose, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "model.pth")
    with pytest.raises(InputError, match=rf"model\.pth: {message}"):
        load_weights(subnet, tmp_path / "model.pth")


def describe(path: Path, subnet: LitePose, **changes: object) -> None:
    """Write a subnet's weights with a description that is changed."""
    description = {"kind": "subnet", "arch": subnet.arch.to_dict(), "num_keypoints": 14, "info": {}, **changes}
    save_file(subnet.state_dict(), path, metadata={FORMAT: json.dumps(description)})


@pytest.mark.parametrize("metadata", [None, {"litepose-ofa 99": "{}"}, {FORMAT: "{"}, {FORMAT: "[]"}])
def test_descriptions_that_are_not_ours_are_refused(
    metadata: dict[str, str] | None, subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(InputError, match=r"other\.safetensors: was not written by this project"):
        load_subnet(path)
    describe(path, subnet)  # as from before there was a digest
    assert_equal(load_subnet(path), subnet)
    with pytest.raises(InputError, match=r"other\.safetensors: holds a subnet, not a supernet"):
        load_supernet(path)
    describe(path, subnet, num_keypoints="14", arch=None, skeleton=3)
    with pytest.raises(InputError, match=r"other\.safetensors: its description: num_keypoints is '14'"):
        load_subnet(path)
    describe(path, subnet, arch=None, skeleton=3)
    with pytest.raises(InputError, match=r"other\.safetensors: architecture: it is null; it must be a mapping"):
        load_subnet(path)
    with pytest.raises(InputError, match=r"other\.safetensors: its skeleton is damaged: it is 3; it must be a mapping"):
        read_skeleton(path)


def test_a_described_network_beyond_all_measure_is_not_built(subnet: LitePose, tmp_path: Path) -> None:
    arch, path = subnet.arch.to_dict(), tmp_path / "subnet.safetensors"
    for stage in arch["backbone_setting"]:
        stage |= {"channel": 4096, "block_setting": [[32, 31]] * 64, "num_blocks": 64}
    describe(path, subnet, arch=arch)
    with pytest.raises(InputError, match=r"subnet\.safetensors: the architecture's weights would be 1\.\d+e\+03 GiB"):
        load_subnet(path)


def test_tensors_that_are_no_ordinary_numbers_are_named(subnet: LitePose, tmp_path: Path) -> None:
    path, name = tmp_path / "model.pth", "first.2.weight"
    state, before = subnet.state_dict(), weights_digest(subnet)
    weight = state[name]
    for given in (weight.to_sparse(), weight.to("meta"), weight.to(torch.complex64), weight.to(torch.int32)):
        torch.save(state | {name: given}, path)
        with pytest.raises(InputError, match=f"does not fit the model: {name} is .*; it must be an ordinary tensor"):
            load_weights(subnet, path)
    assert weights_digest(subnet) == before


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "first.2.weight"), (-float("inf"), "first.3.running_var")])
def test_a_network_that_is_not_finite_is_neither_saved_nor_loaded(
    value: float, name: str, subnet: LitePose, tmp_path: Path
) -> None:
    published, ours = tmp_path / "model.pth", tmp_path / "subnet.safetensors"
    save_network(ours, subnet)
    whole = ours.read_bytes()
    subnet.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(NotFiniteError, match=rf"subnet\.safetensors: not written, .* ruined: {name} is not finite"):
        save_network(ours, subnet)
    assert ours.read_bytes() == whole
    torch.save(subnet.state_dict(), published)
    with pytest.raises(NotFiniteError, match=rf"model\.pth: holds a ruined network: {name} is not finite"):
        load_weights(LitePose(subnet.arch), published)
