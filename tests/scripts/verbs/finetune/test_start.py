"""What a finetuning starts from, what teaches it, and that it goes on after a kill."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.scripts.build.builders import load_split
from litepose_ofa.scripts.build.finetuning import Finetuning
from litepose_ofa.search.study.results import Candidate
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.evaluation.subnets import SubnetEvaluator
from litepose_ofa.supernet.network.checkpoints import (
    load_subnet,
    load_supernet,
    save_subnet,
    weights_digest,
)
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.validation import Validator

RunScript = Callable[..., Any]
Compose = Callable[..., Any]
AssertEqual = Callable[[torch.nn.Module, torch.nn.Module], None]
Complaint = Callable[[Any], str]
Info = Callable[[Path], dict[str, Any]]
SubnetPath = Callable[[Path], Path]


STILL = ("training.learning_rate.peak=0", "training.weight_decay=0")
"""Training that changes nothing but batch-norm statistics."""


def test_a_training_validates_on_its_first_images_and_is_measured_on_all(
    compose_config: Compose,
    quick: tuple[str, ...],
    searched: Path,
    candidates: list[Candidate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = compose_config("finetune", f"workspace={searched}", *quick, "training.validation_images=3")
    finetuning = Finetuning(cfg, SINGLE)
    arch, seen = candidates[0].arch, []

    def note(validator: Validator, model: LitePose) -> dict[str, float]:
        seen.append(len(validator.dataset))
        return {"subnet": 0.5}

    monkeypatch.setattr(Validator, "__call__", note)
    finetuning.validator(arch)(finetuning.network(arch))
    finetuning.measure(finetuning.network(arch))
    assert seen == [3, len(load_split(cfg, "search"))]
    assert seen[1] > 3


def test_the_choice_is_trained_from_the_supernets_weights(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    candidates: list[Candidate],
    make_evaluator: Callable[[Path], SubnetEvaluator],
    subnet_path: SubnetPath,
    info: Info,
    assert_equal: AssertEqual,
) -> None:
    outcome = run_script("finetune", f"workspace={searched}", *quick, *STILL)
    assert outcome.status == 0, outcome.stderr
    arch, evaluator = candidates[0].arch, make_evaluator(searched)
    assert_equal(load_subnet(subnet_path(searched)), evaluator.prepare(arch))
    ap = evaluator.measure(arch)
    assert info(searched) == {
        "archs": [arch.digest],
        "supernet": evaluator.identity["weights"],
        "start_weights": None,
        "teacher_weights": None,
        "start": "supernet",
        "teacher": None,
        "steps": 6,
        "rate": 0.1,
        "seed": 0,
        "dataset": "people",
        "images": 12,
        "ap_search": {"before": ap, "after": ap},
    }
    told = f"6 steps at rate 0.1: AP on the search split {100 * ap:.1f} -> {100 * ap:.1f} (+0.0)"
    assert told in outcome.stdout
    lines = [json.loads(line) for line in (subnet_path(searched).parent / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "ap/subnet" in line] == [1, 3, 5]
    again = run_script("finetune", f"workspace={searched}", *quick, *STILL)
    assert "already finetuned" in again.stdout
    assert told in again.stdout


def test_rate_and_share_are_those_of_the_training(
    run_script: RunScript, quick: tuple[str, ...], trained: Path, subnet_path: SubnetPath, info: Info
) -> None:
    settings = ("arch=smallest", "rate=0.5", "share=0.34", "training.learning_rate.warmup=0")
    assert run_script("finetune", f"workspace={trained}", *quick, *settings).status == 0
    log = (subnet_path(trained).parent / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["learning_rate"] for line in log if "learning_rate" in line]
    assert len(rates) == info(trained)["steps"] == 2
    assert rates[0] == 0.5 * 0.008
    inherited = load_supernet(trained / "supernet" / "supernet.safetensors")
    assert weights_digest(load_subnet(subnet_path(trained))) != weights_digest(inherited)


def test_scratch_needs_neither_supernet_nor_search(
    run_script: RunScript, quick: tuple[str, ...], tmp_path: Path, subnet_path: SubnetPath, info: Info
) -> None:
    arch = SearchSpace.preset("tiny").smallest().with_image_size(64)
    arch.save(tmp_path / "own.json")
    command = ("finetune", f"workspace={tmp_path}", *quick, f"arch={tmp_path / 'own.json'}", "start=scratch")
    assert run_script(*command, *STILL, "seed=3").status == 0
    found = load_subnet(subnet_path(tmp_path))
    assert found.arch == arch
    assert (info(tmp_path)["supernet"], info(tmp_path)["start"]) == (None, "scratch")
    torch.manual_seed(3)
    fresh = dict(LitePose(arch).named_parameters())
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in found.named_parameters())


def test_weights_of_a_file_are_started_from(
    run_script: RunScript, quick: tuple[str, ...], tmp_path: Path, subnet_path: SubnetPath, complaint: Complaint
) -> None:
    arch = SearchSpace.preset("tiny").smallest()
    torch.manual_seed(5)
    given = LitePose(arch)
    save_subnet(tmp_path / "given.safetensors", given)
    command = ("finetune", f"workspace={tmp_path}", *quick, "arch=smallest")
    assert run_script(*command, f"start={tmp_path / 'given.safetensors'}", *STILL).status == 0
    found = dict(load_subnet(subnet_path(tmp_path)).named_parameters())
    assert all(torch.equal(tensor, found[name]) for name, tensor in given.named_parameters())
    save_subnet(tmp_path / "given.safetensors", LitePose(arch))
    line = complaint(run_script(*command, f"start={tmp_path / 'given.safetensors'}", *STILL))
    assert "source.start_weights was" in line


def test_the_supernets_largest_subnet_teaches(
    run_script: RunScript,
    quick: tuple[str, ...],
    trained: Path,
    compose_config: Compose,
    make_evaluator: Callable[[Path], SubnetEvaluator],
    subnet_path: SubnetPath,
    assert_equal: AssertEqual,
) -> None:
    settings = (f"workspace={trained}", *quick, "arch=smallest", "teacher.weights=supernet")
    assert run_script("finetune", *settings).status == 0
    log = (subnet_path(trained).parent / "metrics.jsonl").read_text()
    assert "subnet/distillation" in log
    finetuning = Finetuning(compose_config("finetune", *settings), SINGLE)
    assert finetuning.teacher is not None
    assert finetuning.teacher.image_size == 128 != SearchSpace.preset("tiny").smallest().image_size
    evaluator = make_evaluator(trained)
    assert_equal(finetuning.teacher.model, evaluator.prepare(evaluator.space.largest()))


def test_killed_it_goes_on(
    run_script: RunScript,
    quick: tuple[str, ...],
    data_root: Path,
    trained: Path,
    subnet_path: SubnetPath,
    info: Info,
    assert_equal: AssertEqual,
) -> None:
    whole = Path(shutil.copytree(trained, trained.parent / "whole"))
    overrides = (*quick, "training.steps=24", "arch=smallest", "rate=0.5", "training.ema_decay=0.9")
    command = [
        sys.executable,
        "-m",
        "litepose_ofa",
        "finetune",
        f"data_root={data_root}",
        f"workspace={trained}",
        *overrides,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    try:
        while not list((subnet_path(trained).parent / "checkpoints").glob("step_*.pt")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert not subnet_path(trained).exists()

    outcome = run_script("finetune", f"workspace={trained}", *overrides)
    assert outcome.status == 0, outcome.stderr
    assert "going on from step" in outcome.stdout
    assert run_script("finetune", f"workspace={whole}", *overrides).status == 0
    assert_equal(load_subnet(subnet_path(trained)), load_subnet(subnet_path(whole)))
    assert info(trained) == info(whole)
