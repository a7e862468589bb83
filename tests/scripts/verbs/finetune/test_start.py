"""What a finetuning starts from, what teaches it, and that it goes on after a kill."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from litepose_ofa.scripts.build.finetuning import Finetuning
from litepose_ofa.scripts.build.networks import build_subnet_evaluator
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.network.checkpoints import load_supernet, save_network, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import SINGLE

STILL = ("training.learning_rate.peak=0", "training.weight_decay=0")
"""Training that changes nothing but batch-norm statistics."""


def test_the_choice_is_trained_from_the_supernets_weights(
    jobs: Any, searched: Path, candidates: Any, compose_config: Any, assert_equal: Any
) -> None:
    outcome = jobs.finetune(searched, *STILL)
    arch = candidates[0].arch
    evaluator = build_subnet_evaluator(compose_config("finetune", f"workspace={searched}", *jobs.quick), "search")
    assert_equal(jobs.network(searched), evaluator.prepare(arch))
    ap = evaluator.measure(arch)
    assert jobs.info(searched) == {
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
    lines = [json.loads(line) for line in (jobs.path(searched).parent / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "ap/subnet" in line] == [1, 3, 5]
    again = jobs.finetune(searched, *STILL).stdout
    assert "already finetuned" in again
    assert told in again


def test_rate_and_share_are_those_of_the_training(jobs: Any, trained: Path) -> None:
    jobs.finetune(trained, "arch=smallest", "rate=0.5", "share=0.34", "training.learning_rate.warmup=0")
    log = (jobs.path(trained).parent / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["learning_rate"] for line in log if "learning_rate" in line]
    assert len(rates) == jobs.info(trained)["steps"] == 2
    assert rates[0] == 0.5 * 0.008
    inherited = load_supernet(trained / "supernet" / "supernet.safetensors")
    assert weights_digest(jobs.network(trained)) != weights_digest(inherited)


def test_scratch_and_a_file_of_weights_need_neither_supernet_nor_search(jobs: Any, tmp_path: Path) -> None:
    def assert_started_from(wanted: LitePose) -> None:
        found = jobs.network(tmp_path)
        assert found.arch == wanted.arch
        parameters = dict(found.named_parameters())
        assert all(torch.equal(tensor, parameters[name]) for name, tensor in wanted.named_parameters())

    arch = SearchSpace.preset("tiny").smallest().with_image_size(64)
    arch.save(tmp_path / "own.json")
    own = (f"arch={tmp_path / 'own.json'}", *STILL)
    jobs.finetune(tmp_path, *own, "start=scratch", "seed=3")
    assert (jobs.info(tmp_path)["supernet"], jobs.info(tmp_path)["start"]) == (None, "scratch")
    torch.manual_seed(3)
    assert_started_from(LitePose(arch))

    shutil.rmtree(tmp_path / "finetune")
    given = LitePose(arch)
    save_network(tmp_path / "given.safetensors", given)
    start = f"start={tmp_path / 'given.safetensors'}"
    jobs.finetune(tmp_path, *own, start)
    assert_started_from(given)
    save_network(tmp_path / "given.safetensors", LitePose(arch))
    assert "source.start_weights was" in jobs.refused(tmp_path, *own, start)


def test_the_supernets_largest_subnet_teaches(jobs: Any, trained: Path, compose_config: Any, assert_equal: Any) -> None:
    settings = ("arch=smallest", "teacher.weights=supernet")
    jobs.finetune(trained, *settings)
    assert "subnet/distillation" in (jobs.path(trained).parent / "metrics.jsonl").read_text()
    cfg = compose_config("finetune", f"workspace={trained}", *jobs.quick, *settings)
    teacher, evaluator = Finetuning(cfg, SINGLE).teacher, build_subnet_evaluator(cfg, "search")
    assert teacher is not None
    assert teacher.image_size == 128 != SearchSpace.preset("tiny").smallest().image_size
    assert_equal(teacher.model, evaluator.prepare(evaluator.space.largest()))


def test_killed_it_goes_on(jobs: Any, data_root: Path, trained: Path, assert_equal: Any) -> None:
    whole = Path(shutil.copytree(trained, trained.parent / "whole"))
    settings = ("training.steps=24", "arch=smallest", "rate=0.5", "training.ema_decay=0.9")
    places = (f"data_root={data_root}", f"workspace={trained}")
    command = [sys.executable, "-m", "litepose_ofa", "finetune", *places, *jobs.quick, *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not list((jobs.path(trained).parent / "checkpoints").glob("step_*.pt")):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        process.kill()
    assert not jobs.path(trained).exists()

    assert "going on from step" in jobs.finetune(trained, *settings).stdout
    jobs.finetune(whole, *settings)
    assert_equal(jobs.network(trained), jobs.network(whole))
    assert jobs.info(trained) == jobs.info(whole)
