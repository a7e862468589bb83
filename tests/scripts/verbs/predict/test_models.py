"""Every kind of model finds the same people; one that does not fit is named."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from litepose_ofa.scripts.build.network_files import open_network_or_subnet
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, save_network


def test_folder_safetensors_onnx_and_bare_weights_find_the_same_people(
    predict: Any, exported: Path, tmp_path: Path, people_of: Any
) -> None:
    subnet = load_subnet(exported / "weights.safetensors")
    save_network(tmp_path / "alone.safetensors", subnet)
    torch.save({"state_dict": subnet.state_dict()}, tmp_path / "weights.pth")
    subnet.arch.save(tmp_path / "arch.yaml")
    kinds = {
        "folder": (),
        "safetensors": (f"model={exported / 'weights.safetensors'}",),
        "alone": (f"model={tmp_path / 'alone.safetensors'}",),
        "onnx": (f"model={exported / 'model.onnx'}", "batch_size=2"),
        "pth": (f"model={tmp_path / 'weights.pth'}", f"arch={tmp_path / 'arch.yaml'}", "dataset=crowdpose"),
    }
    found = {}
    for kind, overrides in kinds.items():
        assert predict(*overrides, f"output={tmp_path / kind}").status == 0
        found[kind] = list(people_of(tmp_path / kind).values())
    assert sum(len(people) for people, _ in found["folder"]) >= 4
    for kind, others in found.items():
        same = []
        for (people, scores), (other, other_scores) in zip(found["folder"], others, strict=True):
            np.testing.assert_allclose(scores, other_scores, atol=1e-4)
            same.append((np.abs(people - other) < 0.01).all(axis=2).ravel())
        assert np.concatenate(same).mean() > (0.9 if kind == "onnx" else 0.999), kind


def test_a_subnet_of_a_supernet_is_cut_out_and_recalibrated(
    predict: Any, trained: Path, quick_evaluation: tuple[str, ...], tmp_path: Path
) -> None:
    supernet = f"model={trained / 'supernet' / 'supernet.safetensors'}"
    assert "is a supernet; say which subnet: arch=smallest" in predict(supernet).refusal
    assert "space" in predict(supernet, "arch=smallest", "space=litepose").refusal
    assert predict(supernet, "arch=smallest", *quick_evaluation, f"output={tmp_path / 'cut'}").status == 0
    assert predict().status == 0
    digests = [read_json(tmp_path / name / "run.json")["config"]["model"] for name in ("cut", "out")]
    assert digests[0] == digests[1], "the same network by another way"


COCO = {"dataset": {"skeleton": "coco"}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "alone.onnx"}, ": is not an export folder: it has no manifest.json; litepose export makes one"),
        ({"model": "broken.safetensors"}, "broken.safetensors: is damaged"),
        ({"model": "subnet.safetensors", **COCO}, "14 keypoints; dataset.skeleton coco has 17"),
        ({"model": "weights.pth"}, "holds weights alone; give arch="),
        ({"model": "weights.pth", "arch": "arch.json", **COCO}, "with the 17 keypoints of dataset.skeleton coco"),
        ({"model": "m/model.onnx", "arch": "smallest"}, "arch is 'smallest'; it must be null"),
        ({"model": "m/model.onnx", "image_size": 128}, "image_size is 128; it must be null or 96, which"),
    ],
)
def test_a_model_that_does_not_fit_is_named(
    compose_config: Any, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: Any, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m").symlink_to(exported)
    for name in ("alone.onnx", "broken.safetensors"):
        Path(name).write_text("nothing")
    subnet = load_subnet(exported / "weights.safetensors")
    save_network("subnet.safetensors", subnet)
    torch.save(subnet.state_dict(), "weights.pth")
    subnet.arch.save("arch.json")
    merged: Any = OmegaConf.merge(compose_config("predict", "threads=1"), changed)
    with pytest.raises(InputError, match=re.escape(told)):
        open_network_or_subnet(merged, Path(merged.model))
