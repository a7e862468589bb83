"""What export makes of a finetuned network."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, save_network, weights_digest
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet


def test_the_finetuned_network_is_exported(
    jobs: Any, searched: Path, export: Any, bundle: Path, assert_equal: Any
) -> None:
    assert "no such file; finetune first" in export("finetuned=true").refusal
    jobs.finetune(searched)
    assert export().status == 0
    plain = read_json(bundle / "manifest.json")
    assert plain["equal_to_supernet"]["bit_equal"] is True
    assert plain["finetuned"] is None

    assert export("finetuned=true").status == 0
    manifest = read_json(bundle / "manifest.json")
    finetuned = jobs.network(searched)
    assert manifest["equal_to_supernet"] is None
    assert manifest["finetuned"] == {**jobs.info(searched), "weights": weights_digest(finetuned)}
    assert manifest["search"] == plain["search"]
    assert manifest["source"]["checkpoint"] == f"finetune/{jobs.cell.as_posix()}/subnet.safetensors"
    assert manifest["formats"]["onnx"]["parity"]["max_abs_difference"] <= 1e-4
    exported = load_subnet(bundle / "weights.safetensors")
    assert_equal(exported, finetuned)
    images = torch.rand(1, 3, exported.arch.image_size, exported.arch.image_size)
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = exported(images)
    for ours, theirs in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
        assert np.abs(ours - theirs.numpy()).max() <= 1e-4

    assert "already exported" in export("finetuned=true").printed
    assert "already" not in export().printed
    assert read_json(bundle / "manifest.json") == plain


def test_a_finetuning_of_another_architecture_or_supernet_is_not_exported(
    jobs: Any, searched: Path, export: Any
) -> None:
    jobs.finetune(searched, "training.steps=2", "arch=largest")
    line = export("finetuned=true").refusal
    assert f"was finetuned from the architecture {SearchSpace.preset('tiny').largest().digest}" in line
    assert "the one to export is" in export("finetuned=true", "arch=smallest").refusal
    torch.manual_seed(9)
    save_network(searched / "supernet" / "supernet.safetensors", LitePoseSupernet(SearchSpace.preset("tiny"), 14))
    told = export("arch=largest", "finetuned=true").refusal
    assert "was finetuned from other weights than the workspace's supernet has" in told
    assert "source.supernet was" in jobs.refused(searched, "training.steps=2", "arch=largest")
    assert "was searched on other weights" in jobs.refused(searched, "training.steps=2")
    damaged = jobs.path(searched)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert "is damaged" in export("finetuned=true", "arch=largest").refusal
