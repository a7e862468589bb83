"""What a finetuning refuses: impossible settings, torchrun with ASHA, another supernet than before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import save_supernet
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("tier=xl",), "chosen.json: no such file; search first (litepose search device=... tier=xl)"),
        (("rate=0",), "rate is 0; it must be a number above 0"),
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
        (("tune=asha", "tune.candidates=0"), "tune.candidates is 0; it must be an integer of at least 1"),
        (("tune=asha", "tune.rates=[1,0.1]"), "tune.rates is (1.0, 0.1); it must be ascending"),
    ],
)
def test_a_bad_setting_is_named(jobs: Any, searched: Path, overrides: Sequence[str], told: str) -> None:
    assert told in jobs.refused(searched, *overrides)
    assert not list((searched / "finetune").rglob("run.json")), "a corrected command may use the same folder"


def test_asha_is_no_job_for_torchrun(jobs: Any, searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert "run it without torchrun" in jobs.refused(searched, "tune=asha")


def test_another_supernet_is_not_gone_on_with(jobs: Any, searched: Path) -> None:
    jobs.finetune(searched, "training.steps=2", "arch=smallest")
    torch.manual_seed(9)
    save_supernet(searched / "supernet" / "supernet.safetensors", LitePoseSupernet(SearchSpace.preset("tiny"), 14))
    assert "source.supernet was" in jobs.refused(searched, "training.steps=2", "arch=smallest")
    assert "was searched on other weights" in jobs.refused(searched, "training.steps=2")
    line = jobs.refused_export(searched, "arch=smallest", "finetuned=true")
    assert "was finetuned from other weights than the workspace's supernet has" in line
