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

RunScript = Callable[..., Any]
AssertEqual = Callable[[torch.nn.Module, torch.nn.Module], None]
Complaint = Callable[[Any], str]
Export = Callable[..., Any]
Info = Callable[[Path], dict[str, Any]]
SubnetPath = Callable[[Path], Path]


def test_the_finetuned_network_is_exported(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    cell: Path,
    subnet_path: SubnetPath,
    info: Info,
    assert_equal: AssertEqual,
    complaint: Complaint,
    export: Export,
) -> None:
    line = complaint(export(searched, "finetuned=true"))
    assert "no such file; finetune first" in line
    assert run_script("finetune", f"workspace={searched}", *quick).status == 0
    assert export(searched).status == 0
    bundle = searched / "export" / cell
    plain = read_json(bundle / "manifest.json")
    assert plain["equal_to_supernet"]["bit_equal"] is True
    assert plain["finetuned"] is None

    outcome = export(searched, "finetuned=true")
    assert outcome.status == 0, outcome.stderr
    manifest = read_json(bundle / "manifest.json")
    finetuned = load_subnet(subnet_path(searched))
    assert manifest["equal_to_supernet"] is None
    assert manifest["finetuned"] == {**info(searched), "weights": weights_digest(finetuned)}
    assert manifest["search"] == plain["search"]
    assert manifest["source"]["checkpoint"] == f"finetune/{cell.as_posix()}/subnet.safetensors"
    assert manifest["formats"]["onnx"]["parity"]["max_abs_difference"] <= 1e-4
    exported = load_subnet(bundle / "weights.safetensors")
    assert_equal(exported, finetuned)
    images = torch.rand(1, 3, exported.arch.image_size, exported.arch.image_size)
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = exported(images)
    for ours, theirs in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
        assert np.abs(ours - theirs.numpy()).max() <= 1e-4

    assert "already exported" in export(searched, "finetuned=true").stdout
    cells, gaps = read_searches(searched)
    summary = summarise(cells)
    assert (gaps, [cell.export_gap() for cell in cells]) == ([], [None])
    assert summary["bit_equal"].tolist() == [None]
    assert summary["ap_search"].tolist() == [info(searched)["ap_search"]["after"]]
    assert "tuned: trained on alone" in format_summary(summary)
    assert "already" not in export(searched).stdout
    assert read_json(bundle / "manifest.json") == plain


def test_a_finetuning_of_another_architecture_is_not_exported(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    subnet_path: SubnetPath,
    complaint: Complaint,
    export: Export,
) -> None:
    command = ("finetune", f"workspace={searched}", *quick, "training.steps=2", "arch=largest")
    assert run_script(*command).status == 0
    line = complaint(export(searched, "finetuned=true"))
    assert f"was finetuned from the architecture {SearchSpace.preset('tiny').largest().digest}" in line
    line = complaint(export(searched, "finetuned=true", "arch=smallest"))
    assert "the one to export is" in line
    damaged = subnet_path(searched)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    line = complaint(export(searched, "finetuned=true", "arch=largest"))
    assert "is damaged" in line
