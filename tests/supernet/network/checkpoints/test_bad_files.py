"""Nothing bad is taken for good: files cut short, flipped bits, pickles that run code, descriptions of others."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

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
from litepose_ofa.supernet.network.litepose import LitePose


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
    saved.unlink()
    for read in readers_of(saved, subnet):
        with pytest.raises(InputError, match=rf"weights\{saved.suffix}: no such file"):
            read(saved)
    saved.mkdir()
    for read in readers_of(saved, subnet):
        with pytest.raises(InputError, match=rf"weights\{saved.suffix}: is damaged or "):
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
        ({"a": 1, "b": {}}, r"holds no state dict .* it has the keys \['a', 'b'\]"),
        ({1: torch.zeros(2)}, r"holds no state dict .* it has the keys \[1\]"),
        ({"perf": np.float64(0.71)}, r"holds more than tensors and plain values: numpy\."),
    ],
)
def test_files_without_a_state_dict_are_refused(value: Any, message: str, subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(value, path)
    with pytest.raises(InputError, match=rf"model\.pth: {message}"):
        load_weights(subnet, path)


def test_a_description_of_another_kind_is_named(
    tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    save_network(path, tiny_supernet)
    with pytest.raises(InputError, match=r"network\.safetensors: holds a supernet, not a subnet"):
        load_subnet(path)
    save_network(path, subnet)
    with pytest.raises(InputError, match=r"network\.safetensors: holds a subnet, not a supernet"):
        load_supernet(path)


@pytest.mark.parametrize("metadata", [None, {"litepose-ofa 99": "{}"}, {FORMAT: "{"}, {FORMAT: "[]"}])
def test_descriptions_that_are_not_ours_are_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(InputError, match=r"other\.safetensors: was not written by this project"):
        load_subnet(path)


def describe(path: Path, subnet: LitePose, **changes: object) -> None:
    """Write a subnet's weights with a description that is changed."""
    description = {"kind": "subnet", "arch": subnet.arch.to_dict(), "num_keypoints": 14, "info": {}, **changes}
    save_file(subnet.state_dict(), path, metadata={FORMAT: json.dumps(description)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_keypoints": "14"}, "its description: num_keypoints is '14'; it must be an integer from 1 to 1000"),
        ({"info": [1]}, "its description: info is [1]; it must be a mapping"),
        ({"arch": None}, "architecture: it is null; it must be a mapping"),
        ({"skeleton": 3}, "its skeleton is damaged: it is 3; it must be a mapping"),
    ],
)
def test_what_a_description_says_is_checked(
    change: dict[str, object], message: str, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / "subnet.safetensors"
    describe(path, subnet, **change)
    with pytest.raises(InputError) as caught:  # noqa: PT012 (either may be the one)
        load_subnet(path)
        read_skeleton(path)
    assert str(caught.value).startswith(f"{path}: {message}")


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
