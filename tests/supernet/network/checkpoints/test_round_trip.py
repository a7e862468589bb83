"""Our files give back what was saved: weights, description, bytes, digest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import (
    load_subnet,
    load_supernet,
    read_description,
    save_subnet,
    save_supernet,
    weights_digest,
)
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose

AssertEqual = Callable[[nn.Module, nn.Module], None]


def test_supernet_round_trip(tiny_supernet: LitePoseSupernet, tmp_path: Path, assert_equal: AssertEqual) -> None:
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


def test_subnet_round_trip(subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual) -> None:
    path = tmp_path / "weights.safetensors"
    save_subnet(path, subnet)
    loaded = load_subnet(path)
    assert_equal(loaded, subnet)
    assert (loaded.arch, loaded.num_keypoints, loaded.training) == (subnet.arch, 14, False)
    assert read_description(path)["info"] == {}


def test_custom_space_keypoints_and_layout_round_trip(
    tmp_path: Path, tiny: SearchSpace, randomise: Any, assert_equal: AssertEqual
) -> None:
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


def test_files_from_before_there_was_a_digest_load(subnet: LitePose, tmp_path: Path, assert_equal: AssertEqual) -> None:
    path = tmp_path / "subnet.safetensors"
    save_subnet(path, subnet, {"step": 1})
    description = read_description(path)
    del description["weights"]
    save_file(subnet.state_dict(), path, metadata={"litepose-ofa 1": json.dumps(description)})
    assert_equal(load_subnet(path), subnet)
    assert read_description(path)["info"] == {"step": 1}


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
