import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import (
    FORMAT,
    load_subnet,
    read_description,
    read_skeleton,
    save_network,
    save_subnet,
)
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose

OWN = Skeleton("own", ("a", "b", "c"), ((0, 1),), (0.1, 0.2, 0.3), "box", ((0, 2),))


def test_weights_carry_their_skeleton(tmp_path: Path) -> None:
    space = SearchSpace.preset("tiny")
    subnet = LitePose(space.smallest(), 3)
    save_subnet(tmp_path / "a.safetensors", subnet, {"step": 1}, skeleton=OWN)
    save_network(tmp_path / "b.safetensors", LitePoseSupernet(space, 14), skeleton=CROWDPOSE)
    save_network(tmp_path / "c.safetensors", subnet, {"step": 1}, skeleton=OWN)
    assert read_skeleton(tmp_path / "a.safetensors") == OWN
    assert read_skeleton(tmp_path / "b.safetensors") == CROWDPOSE
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()
    assert read_description(tmp_path / "a.safetensors")["info"] == {"step": 1}


def test_weights_without_a_skeleton_still_load(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_subnet(path, LitePose(SearchSpace.preset("tiny").smallest(), 3))
    assert "skeleton" not in read_description(path)
    assert read_skeleton(path) is None
    assert load_subnet(path).num_keypoints == 3


def test_a_damaged_skeleton_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_subnet(path, LitePose(SearchSpace.preset("tiny").smallest(), 3), skeleton=OWN)
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()[FORMAT])
    description["skeleton"]["sigmas"] = [1]
    save_file(load_file(path), path, metadata={FORMAT: json.dumps(description)})
    with pytest.raises(
        InputError, match=r"a\.safetensors: its skeleton is damaged: sigmas is \[1.0\]; it must be 3 numbers"
    ):
        read_skeleton(path)
