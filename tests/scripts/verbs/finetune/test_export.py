"""What export makes of a finetuned network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from litepose_ofa.search.reporting.searches import read_searches
from litepose_ofa.search.reporting.summary import format_summary, summarise
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, weights_digest


def test_the_finetuned_network_is_exported(jobs: Any, searched: Path, assert_equal: Callable[..., None]) -> None:
    assert "no such file; finetune first" in jobs.refused_export(searched, "finetuned=true")
    jobs.finetune(searched)
    jobs.export(searched)
    bundle = searched / "export" / jobs.cell
    plain = read_json(bundle / "manifest.json")
    assert plain["equal_to_supernet"]["bit_equal"] is True
    assert plain["finetuned"] is None

    jobs.export(searched, "finetuned=true")
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

    assert "already exported" in jobs.export(searched, "finetuned=true").stdout
    cells, gaps = read_searches(searched)
    summary = summarise(cells)
    assert (gaps, [cell.export_gap() for cell in cells]) == ([], [None])
    assert summary["bit_equal"].tolist() == [None]
    assert summary["ap_search"].tolist() == [jobs.info(searched)["ap_search"]["after"]]
    assert "tuned: trained on alone" in format_summary(summary)
    assert "already" not in jobs.export(searched).stdout
    assert read_json(bundle / "manifest.json") == plain


def test_a_finetuning_of_another_architecture_is_not_exported(jobs: Any, searched: Path) -> None:
    jobs.finetune(searched, "training.steps=2", "arch=largest")
    line = jobs.refused_export(searched, "finetuned=true")
    assert f"was finetuned from the architecture {SearchSpace.preset('tiny').largest().digest}" in line
    assert "the one to export is" in jobs.refused_export(searched, "finetuned=true", "arch=smallest")
    damaged = jobs.path(searched)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert "is damaged" in jobs.refused_export(searched, "finetuned=true", "arch=largest")
