"""What a finetuning refuses: impossible settings, torchrun with ASHA, another supernet than before."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import save_supernet
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet

RunScript = Callable[..., Any]
Complaint = Callable[[Any], str]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("tier=xl",), "chosen.json: no such file; search first (litepose search device=... tier=xl)"),
        (("tier=5",), "search/raspberry_pi_4b/5/chosen.json: no such file"),
        (("rate=0",), "rate is 0; it must be a number above 0"),
        (("share=much",), "share is 'much'; it must be a number above 0"),
        (("start=null",), "start is null; it must be supernet, scratch, a file of weights or an export folder"),
        (
            ("start=m/model.onnx",),
            "start is 'm/model.onnx'; it must be supernet, scratch, a file of weights or an export",
        ),
        (("start=missing.safetensors",), "missing.safetensors: no such file"),
        (("arch=medium",), "arch is 'medium'; it must be smallest, largest or a .json or .yaml file"),
        (("arch=other.json", "start=supernet"), "other.json: no such file"),
        (("teacher.weights=supernet", "teacher.arch=a.json"), "teacher.arch is 'a.json'; it must be null"),
        (("teacher.arch=a.json",), "teacher.arch is 'a.json'; it must be null without teacher.weights"),
        (("training.batch_size=13",), "batch_size is 13; the training split has only 12 images"),
        (("tune=grid",), "tune is 'grid'; it must be one of asha, none"),
        (("tune.name=grid",), "tune.name is 'grid'; it must be one of none, asha"),
        (("tune=asha", "tune.candidates=0"), "tune.candidates is 0; it must be an integer of at least 1"),
        (("tune=asha", "tune.num_samples=many"), "tune.num_samples is 'many'; it must be an integer"),
        (("tune=asha", "tune.rates=[1,0.1]"), "tune.rates is (1.0, 0.1); it must be ascending"),
        (("tune=asha", "tune.reduction_factor=1"), "tune.reduction_factor is 1; it must be a number of at least 1.01"),
        (("tune=asha", "+tune.brackets=2"), "unknown key tune.brackets"),
    ],
)
def test_a_bad_setting_is_named(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    overrides: Sequence[str],
    told: str,
    complaint: Complaint,
) -> None:
    assert told in complaint(run_script("finetune", f"workspace={searched}", *quick, *overrides))
    assert not list((searched / "finetune").rglob("run.json")), "a corrected command may use the same folder"


def test_asha_is_no_job_for_torchrun(
    run_script: RunScript, quick: tuple[str, ...], searched: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    outcome = run_script("finetune", f"workspace={searched}", *quick, "tune=asha")
    assert "run it without torchrun" in complaint(outcome)


def test_another_supernet_is_not_gone_on_with(
    run_script: RunScript, quick: tuple[str, ...], searched: Path, complaint: Complaint
) -> None:
    command = ("finetune", f"workspace={searched}", *quick, "training.steps=2")
    assert run_script(*command, "arch=smallest").status == 0
    torch.manual_seed(9)
    save_supernet(searched / "supernet" / "supernet.safetensors", LitePoseSupernet(SearchSpace.preset("tiny"), 14))
    assert "source.supernet was" in complaint(run_script(*command, "arch=smallest"))
    assert "was searched on other weights" in complaint(run_script(*command))
    line = complaint(run_script("export", f"workspace={searched}", "arch=smallest", "finetuned=true"))
    assert "was finetuned from other weights than the workspace's supernet has" in line
