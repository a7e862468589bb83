"""Nothing bad is taken for good: files cut short, flipped bits, pickles that run code, descriptions of others."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

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
    save_subnet,
    save_supernet,
    weights_digest,
)
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.torch_files import read_torch_file


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


@pytest.mark.parametrize("place", [0.0, 0.3, 1.0])
def test_one_wrong_bit_in_the_weights_is_noticed(
    place: float, tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    for network, load in ((tiny_supernet, load_supernet), (subnet, load_subnet)):
        save_network(path, network)
        assert read_weights(path).keys()
        flip_byte(path, place)
        before = weights_digest(network)
        for read in (load, read_weights, lambda path, network=network: load_weights(network, path)):
            with pytest.raises(InputError) as caught:
                read(path)
            assert str(caught.value) == f"{path}: is damaged: its weights are not those of its digest"
        assert weights_digest(network) == before


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
        with pytest.raises(InputError, match=r"evil\.pth: (is damaged or )?holds more than tensors") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_missing_files_and_folders_are_named(suffix: str, subnet: LitePose, tmp_path: Path) -> None:
    readers = [lambda path: load_weights(subnet, path)]
    if suffix == ".safetensors":
        readers += [load_subnet, load_supernet, read_description]
    (tmp_path / f"folder{suffix}").mkdir()
    for read in readers:
        with pytest.raises(InputError, match=rf"absent\{suffix}: no such file"):
            read(tmp_path / f"absent{suffix}")
        with pytest.raises(InputError, match=rf"folder\{suffix}: is damaged or "):
            read(tmp_path / f"folder{suffix}")


def test_a_description_of_another_kind_is_named(
    tiny_supernet: LitePoseSupernet, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    save_supernet(path, tiny_supernet)
    with pytest.raises(InputError, match=r"network\.safetensors: holds a supernet, not a subnet"):
        load_subnet(path)
    save_subnet(path, subnet)
    with pytest.raises(InputError, match=r"network\.safetensors: holds a subnet, not a supernet"):
        load_supernet(path)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"litepose-ofa 99": json.dumps({"kind": "subnet", "num_keypoints": 14, "info": {}})},
        {"litepose-ofa 1": "{"},
        {"litepose-ofa 1": "[]"},
    ],
)
def test_descriptions_that_are_not_ours_are_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    for read in (load_subnet, load_supernet, read_description):
        with pytest.raises(InputError, match=r"other\.safetensors: was not written by this project"):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_keypoints": "14"}, "its description: num_keypoints is '14'; it must be an integer from 1 to 1000"),
        ({"num_keypoints": 10**12}, "its description: num_keypoints is 1000000000000; it must be an integer"),
        ({"info": [1]}, "its description: info is [1]; it must be a mapping"),
        ({"kind": 7}, "its description: kind is 7; it must be a text"),
        ({"weights": 7}, "its description: weights is 7; it must be a text, or null"),
        ({"arch": None}, "architecture is None; it must be an object"),
        ({"skeleton": 3}, "its skeleton is damaged: it is 3; it must be a mapping"),
    ],
)
def test_what_a_description_says_is_checked(
    change: dict[str, object], message: str, subnet: LitePose, tmp_path: Path
) -> None:
    path = tmp_path / "subnet.safetensors"
    description = {"kind": "subnet", "arch": subnet.arch.to_dict(), "num_keypoints": 14, "info": {}, **change}
    save_file(subnet.state_dict(), path, metadata={FORMAT: json.dumps(description)})
    with pytest.raises(InputError) as caught:  # noqa: PT012 (either may be the one)
        load_subnet(path)
        read_skeleton(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_described_network_beyond_all_measure_is_not_built(subnet: LitePose, tmp_path: Path) -> None:
    arch = subnet.arch.to_dict()
    for stage in arch["backbone_setting"]:
        stage |= {"channel": 4096, "block_setting": [[32, 31]] * 64, "num_blocks": 64}
    path = tmp_path / "subnet.safetensors"
    description = {"kind": "subnet", "arch": arch, "num_keypoints": 14, "info": {}}
    save_file({}, path, metadata={FORMAT: json.dumps(description)})
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
    torch.save(state | {"first.3.num_batches_tracked": torch.tensor(0.5)}, path)
    with pytest.raises(InputError, match=r"first\.3\.num_batches_tracked is .*float32"):
        load_weights(subnet, path)
    assert weights_digest(subnet) == before


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "first.2.weight"), (-float("inf"), "first.3.running_var")])
def test_a_network_that_is_not_finite_is_neither_saved_nor_loaded(
    value: float, name: str, subnet: LitePose, tmp_path: Path
) -> None:
    published, ours = tmp_path / "model.pth", tmp_path / "subnet.safetensors"
    save_subnet(ours, subnet)
    whole = ours.read_bytes()
    subnet.state_dict()[name].view(-1)[-1] = value
    with pytest.raises(NotFiniteError, match=rf"subnet\.safetensors: not written, .* ruined: {name} is not finite"):
        save_subnet(ours, subnet)
    assert ours.read_bytes() == whole
    torch.save(subnet.state_dict(), published)
    with pytest.raises(NotFiniteError, match=rf"model\.pth: holds a ruined network: {name} is not finite"):
        load_weights(LitePose(subnet.arch), published)


def test_the_type_in_a_pickle_that_may_not_be_read_is_named(subnet: LitePose, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": subnet.state_dict(), "perf": np.float64(0.71)}, path)
    with pytest.raises(InputError) as caught:
        load_weights(subnet, path)
    assert str(caught.value).startswith(f"{path}: holds more than tensors and plain values: numpy.")
