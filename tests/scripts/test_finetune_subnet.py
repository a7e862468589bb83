"""Finetuning as a user runs it: what it starts from, that it goes on after a kill, what export makes of it."""

import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from latency_tables import LatencyTable
from scripts.builders import build_subnet_evaluator
from scripts.cli import CONFIG_DIR
from scripts.finetuning import Finetuning
from search import asha
from search.cost import CostModel
from search.evaluators import Accuracy
from search.finetuning import FinetuningTrial, HalvingSettings, RungRecord, TrialOutcome, read_outcome
from search.problem import History, SearchProblem
from search.report import find_cells, format_summary, summarise
from search.results import Candidate, front_candidates, write_chosen, write_front
from supernet.arch import Arch
from supernet.checkpoints import (
    load_subnet,
    load_supernet,
    read_description,
    save_subnet,
    save_supernet,
    weights_digest,
)
from supernet.elastic_litepose import LitePoseSupernet
from supernet.evaluation.subnets import SubnetEvaluator
from supernet.files import read_json
from supernet.litepose import LitePose
from supernet.space import SearchSpace
from supernet.training.distributed import SINGLE

RunScript = Callable[..., Any]
Compose = Callable[..., Any]

DEVICE, TIER = "raspberry_pi_4b", "m"
CELL = Path(DEVICE) / TIER
STILL = ("training.learning_rate.peak=0", "training.weight_decay=0")
"""Training that changes nothing but batch-norm statistics."""


@pytest.fixture
def quick(quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...]) -> tuple[str, ...]:
    return (*quick_training, *quick_evaluation, "share=1", "training.validation_images=4", "training.validate_every=2")


@pytest.fixture(scope="module")
def candidates() -> list[Candidate]:
    """A front of the tiny space, the two smallest networks of it verified."""
    cost = CostModel(SearchSpace.preset("tiny"), tables={DEVICE: LatencyTable.load(DEVICE)})
    problem = SearchProblem(cost, DEVICE, 3.5)
    genomes = cost.codec.sample(200, np.random.default_rng(0))
    latency_ms = problem.latency_ms(genomes)
    history = History(genomes, 0.1 * latency_ms, np.full(200, 0.02), latency_ms)
    *rest, second, first = front_candidates(problem, history, "predictor")
    verified = [replace(one, verified=Accuracy(ap, "supernet")) for one, ap in ((first, 0.2), (second, 0.1))]
    return [*verified, *rest]


@pytest.fixture
def searched(trained: Path, candidates: list[Candidate]) -> Path:
    """A workspace with a trained supernet and the files of a search on it."""
    folder = trained / "search" / CELL
    write_front(folder / "front.csv", candidates)
    search = {
        "space": SearchSpace.preset("tiny").to_dict(),
        "table": LatencyTable.load(DEVICE).digest,
        "evaluator": {"weights": weights_digest(load_supernet(trained / "supernet" / "supernet.safetensors"))},
    }
    record = {"device": DEVICE, "table": DEVICE, "tier": TIER, "budget_ms": 3.5, "search": search}
    write_chosen(folder / "chosen.json", candidates[0], record)
    return trained


@pytest.fixture
def make_evaluator(compose_config: Compose, quick: tuple[str, ...]) -> Callable[[Path], SubnetEvaluator]:
    def make(workspace: Path) -> SubnetEvaluator:
        cfg = compose_config("finetune_subnet", f"workspace={workspace}", *quick)
        return build_subnet_evaluator(cfg, "search")

    return make


def subnet_path(workspace: Path) -> Path:
    return workspace / "finetune" / CELL / "subnet.safetensors"


def info(workspace: Path) -> dict[str, Any]:
    facts: dict[str, Any] = read_description(subnet_path(workspace))["info"]
    return facts


def assert_equal(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    wanted = theirs.state_dict()
    assert {name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, wanted[name])} == set()


def complaint(outcome: Any) -> str:
    """The one line that a script refuses bad input with."""
    (line,) = outcome.stderr.splitlines()
    assert outcome.status == 2
    assert line.startswith("error: ")
    return str(line)


def test_the_choice_is_trained_from_the_supernets_weights(
    run_script: RunScript,
    quick: tuple[str, ...],
    searched: Path,
    candidates: list[Candidate],
    make_evaluator: Callable[[Path], SubnetEvaluator],
) -> None:
    outcome = run_script("finetune_subnet", f"workspace={searched}", *quick, *STILL)
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
    again = run_script("finetune_subnet", f"workspace={searched}", *quick, *STILL)
    assert "already finetuned" in again.stdout
    assert told in again.stdout


def test_rate_and_share_are_those_of_the_training(run_script: RunScript, quick: tuple[str, ...], trained: Path) -> None:
    settings = ("arch=smallest", "rate=0.5", "share=0.34", "training.learning_rate.warmup=0")
    assert run_script("finetune_subnet", f"workspace={trained}", *quick, *settings).status == 0
    log = (subnet_path(trained).parent / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["learning_rate"] for line in log if "learning_rate" in line]
    assert len(rates) == info(trained)["steps"] == 2
    assert rates[0] == 0.5 * 0.008
    inherited = load_supernet(trained / "supernet" / "supernet.safetensors")
    assert weights_digest(load_subnet(subnet_path(trained))) != weights_digest(inherited)


def test_scratch_needs_neither_supernet_nor_search(
    run_script: RunScript, quick: tuple[str, ...], tmp_path: Path
) -> None:
    arch = SearchSpace.preset("tiny").smallest().with_image_size(64)
    arch.save(tmp_path / "own.json")
    command = ("finetune_subnet", f"workspace={tmp_path}", *quick, f"arch={tmp_path / 'own.json'}", "start=scratch")
    assert run_script(*command, *STILL, "seed=3").status == 0
    found = load_subnet(subnet_path(tmp_path))
    assert found.arch == arch
    assert (info(tmp_path)["supernet"], info(tmp_path)["start"]) == (None, "scratch")
    torch.manual_seed(3)
    fresh = dict(LitePose(arch).named_parameters())
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in found.named_parameters())


def test_weights_of_a_file_are_started_from(run_script: RunScript, quick: tuple[str, ...], tmp_path: Path) -> None:
    arch = SearchSpace.preset("tiny").smallest()
    torch.manual_seed(5)
    given = LitePose(arch)
    save_subnet(tmp_path / "given.safetensors", given)
    command = ("finetune_subnet", f"workspace={tmp_path}", *quick, "arch=smallest")
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
) -> None:
    settings = (f"workspace={trained}", *quick, "arch=smallest", "teacher.weights=supernet")
    assert run_script("finetune_subnet", *settings).status == 0
    log = (subnet_path(trained).parent / "metrics.jsonl").read_text()
    assert "subnet/distillation" in log
    finetuning = Finetuning(compose_config("finetune_subnet", *settings), SINGLE)
    assert finetuning.teacher is not None
    assert finetuning.teacher.image_size == 128 != SearchSpace.preset("tiny").smallest().image_size
    evaluator = make_evaluator(trained)
    assert_equal(finetuning.teacher.model, evaluator.prepare(evaluator.space.largest()))


def test_killed_it_goes_on(run_script: RunScript, quick: tuple[str, ...], data_root: Path, trained: Path) -> None:
    whole = Path(shutil.copytree(trained, trained.parent / "whole"))
    overrides = (*quick, "training.steps=24", "arch=smallest", "rate=0.5", "training.ema_decay=0.9")
    script = Path(CONFIG_DIR).parent / "scripts" / "finetune_subnet.py"
    command = [sys.executable, str(script), f"data_root={data_root}", f"workspace={trained}", *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    try:
        while not list((trained / "finetune" / CELL / "checkpoints").glob("step_*.pt")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.communicate()
    assert not subnet_path(trained).exists()

    outcome = run_script("finetune_subnet", f"workspace={trained}", *overrides)
    assert outcome.status == 0, outcome.stderr
    assert "going on from step" in outcome.stdout
    assert run_script("finetune_subnet", f"workspace={whole}", *overrides).status == 0
    assert_equal(load_subnet(subnet_path(trained)), load_subnet(subnet_path(whole)))
    assert info(trained) == info(whole)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("tier=xl",), "chosen.json: no such file; search first (run_search.py device=... tier=xl)"),
        (("rate=0",), "rate is 0; it must be a number above 0"),
        (("share=much",), "share is 'much'; it must be a number above 0"),
        (("start=null",), "start is None; it must be supernet, scratch or a file of weights"),
        (("start=missing.safetensors",), "missing.safetensors: no such file"),
        (("arch=medium",), "arch is 'medium'; it must be smallest, largest or a .json or .yaml file"),
        (("arch=other.json", "start=supernet"), "other.json: no such file"),
        (("teacher.weights=supernet", "teacher.arch=a.json"), "teacher.arch is 'a.json'; it must be null"),
        (("teacher.arch=a.json",), "teacher.arch is 'a.json'; it must be null without teacher.weights"),
        (("training.batch_size=13",), "batch_size is 13; the training split has only 12 images"),
        (("tune=grid",), "asha none"),
        (("tune.name=grid",), "tune.name is 'grid'; it must be one of none, asha"),
        (("tune=asha", "tune.candidates=0"), "tune.candidates is 0; it must be at least 1"),
        (("tune=asha", "tune.num_samples=many"), "tune.num_samples is 'many'; it must be an integer"),
        (("tune=asha", "tune.rates=[1,0.1]"), "tune.rates is (1, 0.1); it must be above 0 and ascending"),
        (("tune=asha", "tune.reduction_factor=1"), "tune.reduction_factor is 1; it must be above 1"),
        (("tune=asha", "+tune.brackets=2"), "unknown setting tune.brackets"),
    ],
)
def test_a_bad_setting_is_named(
    run_script: RunScript, quick: tuple[str, ...], searched: Path, overrides: Sequence[str], told: str
) -> None:
    assert told in complaint(run_script("finetune_subnet", f"workspace={searched}", *quick, *overrides))
    assert not list((searched / "finetune").rglob("run.json")), "a corrected command may use the same folder"


def test_asha_is_no_job_for_torchrun(
    run_script: RunScript, quick: tuple[str, ...], searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    outcome = run_script("finetune_subnet", f"workspace={searched}", *quick, "tune=asha")
    assert "run it without torchrun" in complaint(outcome)


def test_another_supernet_is_not_gone_on_with(run_script: RunScript, quick: tuple[str, ...], searched: Path) -> None:
    command = ("finetune_subnet", f"workspace={searched}", *quick, "training.steps=2")
    assert run_script(*command, "arch=smallest").status == 0
    torch.manual_seed(9)
    save_supernet(searched / "supernet" / "supernet.safetensors", LitePoseSupernet(SearchSpace.preset("tiny"), 14))
    assert "source.supernet was" in complaint(run_script(*command, "arch=smallest"))
    assert "was searched on other weights" in complaint(run_script(*command))
    line = complaint(run_script("export_subnet", f"workspace={searched}", "arch=smallest", "finetuned=true"))
    assert "was finetuned from other weights than the workspace's supernet has" in line


def export(run_script: RunScript, workspace: Path, quick_evaluation: tuple[str, ...], *overrides: str) -> Any:
    return run_script("export_subnet", f"workspace={workspace}", *quick_evaluation, "checked_images=2", *overrides)


def test_the_finetuned_network_is_exported(
    run_script: RunScript, quick: tuple[str, ...], quick_evaluation: tuple[str, ...], searched: Path
) -> None:
    line = complaint(export(run_script, searched, quick_evaluation, "finetuned=true"))
    assert "no such file; finetune first" in line
    assert run_script("finetune_subnet", f"workspace={searched}", *quick).status == 0
    assert export(run_script, searched, quick_evaluation).status == 0
    bundle = searched / "export" / CELL
    plain = read_json(bundle / "manifest.json")
    assert plain["equal_to_supernet"]["bit_equal"] is True
    assert "finetuned" not in plain

    outcome = export(run_script, searched, quick_evaluation, "finetuned=true")
    assert outcome.status == 0, outcome.stderr
    manifest = read_json(bundle / "manifest.json")
    finetuned = load_subnet(subnet_path(searched))
    assert manifest["equal_to_supernet"] is None
    assert manifest["finetuned"] == {**info(searched), "weights": weights_digest(finetuned)}
    assert manifest["search"] == plain["search"]
    assert manifest["onnx"]["max_abs_difference"] <= 1e-4
    exported = load_subnet(bundle / "weights.safetensors")
    assert_equal(exported, finetuned)
    images = torch.rand(1, 3, exported.arch.image_size, exported.arch.image_size)
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = exported(images)
    for ours, theirs in zip(session.run(None, {"images": images.numpy()}), expected, strict=True):
        assert np.abs(ours - theirs.numpy()).max() <= 1e-4

    assert "already exported" in export(run_script, searched, quick_evaluation, "finetuned=true").stdout
    cells, waiting = find_cells(searched)
    summary = summarise(searched, cells)
    assert (waiting, summary["bit_equal"].tolist()) == ([], [None])
    assert summary["ap_search"].tolist() == [info(searched)["ap_search"]["after"]]
    assert "tuned: trained on alone" in format_summary(summary)
    assert "already" not in export(run_script, searched, quick_evaluation).stdout
    assert read_json(bundle / "manifest.json") == plain


def test_a_finetuning_of_another_architecture_is_not_exported(
    run_script: RunScript, quick: tuple[str, ...], quick_evaluation: tuple[str, ...], searched: Path
) -> None:
    command = ("finetune_subnet", f"workspace={searched}", *quick, "training.steps=2", "arch=largest")
    assert run_script(*command).status == 0
    line = complaint(export(run_script, searched, quick_evaluation, "finetuned=true"))
    assert f"was finetuned from the architecture {SearchSpace.preset('tiny').largest().digest}" in line
    line = complaint(export(run_script, searched, quick_evaluation, "finetuned=true", "arch=smallest"))
    assert "the one to export is" in line
    damaged = subnet_path(searched)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    line = complaint(export(run_script, searched, quick_evaluation, "finetuned=true", "arch=largest"))
    assert "is damaged" in line


def run_here(
    make: Callable[[FinetuningTrial, Path], asha.Training],
    trials: Sequence[FinetuningTrial],
    settings: HalvingSettings,
    *,
    steps: int,
    folder: Path,
) -> list[TrialOutcome]:
    """Train every trial to the end, one after the other, in this process."""
    outcomes = []
    for trial in trials:
        place = folder / asha.TRIALS_FOLDER / trial.name
        for rung in settings.rungs(steps):
            ap = make(trial, place).train_to(rung)
            RungRecord(place).add(rung, ap, 1.5)
        outcomes.append(read_outcome(trial, place, steps))
    return outcomes


ASHA = ("tune=asha", "tune.candidates=2", "tune.num_samples=2", "training.validate_every=0", "tune.max_concurrent=1")


def test_the_best_trial_is_kept(
    run_script: RunScript,
    quick: tuple[str, ...],
    quick_evaluation: tuple[str, ...],
    searched: Path,
    candidates: list[Candidate],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aps = {0: 0.3, 1: 0.5, 2: 0.4, 3: 0.2}

    def run_and_pretend(*args: Any, **settings: Any) -> list[TrialOutcome]:
        outcomes = run_here(*args, **settings)
        return [replace(outcome, ap=aps[index]) for index, outcome in enumerate(outcomes)]

    monkeypatch.setattr(asha, "run_asha", run_and_pretend)
    command = ("finetune_subnet", f"workspace={searched}", *quick, *ASHA, "training.steps=2", "tune.grace_period=1")
    outcome = run_script(*command)
    assert outcome.status == 0, outcome.stderr
    folder = subnet_path(searched).parent
    with (folder / "tune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    digests = [candidate.arch.digest for candidate in candidates[:2]]
    assert [row["arch_digest"] for row in rows] == digests * 2
    assert [row["state"] for row in rows] == ["finished"] * 4
    assert info(searched)["tuning"] == {"trial": rows[1]["trial"], "num_trials": 4}
    assert info(searched)["rate"] == float(rows[1]["rate"])
    best = load_subnet(folder / "trials" / rows[1]["trial"] / "subnet.safetensors")
    found = load_subnet(subnet_path(searched))
    assert found.arch == best.arch == candidates[1].arch
    trained = dict(best.named_parameters())
    assert all(torch.equal(tensor, trained[name]) for name, tensor in found.named_parameters())
    assert "0.00167 CPU-hours" in outcome.stdout
    assert "already finetuned" in run_script(*command).stdout

    assert export(run_script, searched, quick_evaluation, "finetuned=true").status == 0
    assert Arch.load(searched / "export" / CELL / "arch.json") == candidates[1].arch
    summary = summarise(searched, [(DEVICE, TIER)])
    assert summary["arch_digest"].tolist() == [candidates[1].arch.digest]
    assert summary["ap_predicted"].isna().all(), "the search's prediction is of its choice"


def test_a_trial_ends_as_the_same_finetuning_alone(
    run_script: RunScript, quick: tuple[str, ...], searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Path(shutil.copytree(searched, searched.parent / "alone"))
    monkeypatch.setattr(asha, "run_asha", run_here)
    one = (*ASHA, "tune.candidates=1", "tune.num_samples=1", "tune.rates=[0.5,0.5]")
    assert run_script("finetune_subnet", f"workspace={searched}", *quick, *one).status == 0
    assert run_script("finetune_subnet", f"workspace={alone}", *quick, "rate=0.5").status == 0
    assert_equal(load_subnet(subnet_path(searched)), load_subnet(subnet_path(alone)))


@pytest.mark.slow
def test_asha_on_ray(run_script: RunScript, quick: tuple[str, ...], searched: Path) -> None:
    command = ("finetune_subnet", f"workspace={searched}", *quick, *ASHA)
    outcome = run_script(*command)
    assert outcome.status == 0, outcome.stderr
    folder = subnet_path(searched).parent
    with (folder / "tune.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert rows[0]["state"] == "finished", "nothing was there to compare the first with"
    assert all((row["state"] == "finished") == (row["steps"] == "6") for row in rows)
    best = max((row for row in rows if row["state"] == "finished"), key=lambda row: float(row["ap"]))
    assert info(searched)["tuning"]["trial"] == best["trial"]
    assert outcome.stderr == ""
    assert "already finetuned" in run_script(*command).stdout
