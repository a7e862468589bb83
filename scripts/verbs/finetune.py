"""Train one network on, alone, from the supernet's weights or from scratch; started again, it goes on."""

import logging
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, open_dict

from litepose_ofa.scripts.build.data import plain
from litepose_ofa.scripts.build.finetuning import Finetuning, MakeTrialTraining, read_facts
from litepose_ofa.scripts.build.networks import build_device
from litepose_ofa.scripts.build.training import finished_file, hold_folder, train_to_the_end
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.training import FinetuneVerb
from litepose_ofa.search.tuning.trials import (
    HalvingSettings,
    SamplingSettings,
    best_outcome,
    sample_trials,
    write_trials,
)
from litepose_ofa.search.workspace import SUBNET_FILE
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import load_subnet, save_subnet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import TORCHRUN_VARIABLES, Process, joined_process_group, run_on_main
from litepose_ofa.supernet.training.trainer import CHECKPOINTS_FOLDER
from litepose_ofa.supernet.validation import validate

logger = logging.getLogger(__name__)

TRIALS_FILE = "tune.csv"


@script("finetune", FinetuneVerb)
def main(cfg: DictConfig) -> None:
    """Compose, build, train, save ``subnet.safetensors``."""
    device = build_device(cfg)
    if cfg.tune.name == "asha":
        _tune(cfg, device)
    else:
        with joined_process_group(device) as process:
            _finetune(cfg, process)


def _finetune(cfg: DictConfig, process: Process) -> None:
    folder = run_folder()
    finetuning = Finetuning(cfg, process)
    (arch,) = finetuning.archs()
    trainer = finetuning.trainer(arch, cfg.rate, folder, validate=True)
    _record_source(cfg, finetuning, [arch])
    with hold_folder(folder, process):
        run_on_main(lambda: start_run(cfg, artefacts=(CHECKPOINTS_FOLDER, SUBNET_FILE)), process)
        if _is_finished(folder / SUBNET_FILE):
            return
        before = finetuning.measure(finetuning.network(arch))
        train_to_the_end(trainer)
        network = trainer.trained
        assert isinstance(network, LitePose)
        facts = _facts(cfg, finetuning, cfg.rate, before=before, after=finetuning.measure(network))
        if process.is_main:
            _save(folder / SUBNET_FILE, finetuning, network, facts)
            _report(folder / SUBNET_FILE, "finetuned")


def _tune(cfg: DictConfig, device: torch.device) -> None:
    if all(name in os.environ for name in TORCHRUN_VARIABLES):
        raise InputError("tune=asha starts processes of its own; run it without torchrun")
    from litepose_ofa.search.tuning.asha import (  # Ray is needed here alone, and takes a second to import
        TRIALS_FOLDER,
        run_asha,
    )

    folder, process = run_folder(), Process(device=device)
    sampling, halving = _tune_settings(cfg, device)
    finetuning = Finetuning(cfg, process)
    archs = finetuning.archs(sampling.candidates)
    trials = sample_trials(archs, sampling, seed=cfg.seed)
    _record_source(cfg, finetuning, archs)
    with hold_folder(folder, process):
        start_run(cfg, artefacts=(TRIALS_FOLDER, SUBNET_FILE))
        if _is_finished(folder / SUBNET_FILE):
            return
        make = MakeTrialTraining(plain(cfg), halving.cpus)
        outcomes = run_asha(make, trials, halving, steps=finetuning.steps, folder=folder)
        write_trials(folder / TRIALS_FILE, outcomes, cfg.training.learning_rate.peak)
        best = best_outcome(outcomes)
        network = load_subnet(folder / TRIALS_FOLDER / best.trial.name / SUBNET_FILE).to(device)
        before, after = finetuning.measure(finetuning.network(best.trial.arch)), finetuning.measure(network)
        facts = _facts(cfg, finetuning, best.trial.rate, before=before, after=after)
        tuning = {"trial": best.trial.name, "num_trials": len(trials)}
        _save(folder / SUBNET_FILE, finetuning, network, {**facts, "tuning": tuning})
        _report(folder / SUBNET_FILE, f"best of {len(trials)} trials")
        resource, amount = halving.resource
        hours = amount * sum(outcome.seconds for outcome in outcomes) / 3600
        logger.info(
            "%.3g %s-hours: AP %.1f, %+.3g AP points per %s-hour",
            hours, resource, 100 * after, 100 * (after - before) / hours, resource,
        )  # fmt: skip


def _tune_settings(cfg: DictConfig, device: torch.device) -> tuple[SamplingSettings, HalvingSettings]:
    values = plain(cfg.tune)
    if values.get("gpus") is None:
        values["gpus"] = int(device.type == "cuda")
    sampling, halving = (
        {field.name: values[field.name] for field in fields(settings) if field.name in values}
        for settings in (SamplingSettings, HalvingSettings)
    )
    return validate(SamplingSettings, sampling, key="tune"), validate(HalvingSettings, halving, key="tune")


def _record_source(cfg: DictConfig, finetuning: Finetuning, archs: list[Arch]) -> None:
    """Put the contents of the files that a run depends on beside its settings, so that it goes on with no others."""
    with open_dict(cfg):
        cfg.source = finetuning.describe(archs)


def _facts(cfg: DictConfig, finetuning: Finetuning, rate: float, *, before: float, after: float) -> dict[str, Any]:
    return {
        **plain(cfg.source),
        "start": cfg.start,
        "teacher": cfg.teacher.weights,
        "steps": finetuning.steps,
        "rate": rate,
        "seed": cfg.seed,
        "dataset": cfg.dataset.name,
        "images": len(finetuning.images),
        "ap_search": {"before": before, "after": after},
    }


def _save(path: Path, finetuning: Finetuning, network: LitePose, facts: dict[str, Any]) -> None:
    save_subnet(path, finetuning.recalibrated(network), facts, skeleton=finetuning.images.dataset.skeleton)


def _is_finished(path: Path) -> bool:
    finished = finished_file(path)
    if finished:
        _report(path, "already finetuned")
    return finished


def _report(path: Path, what: str) -> None:
    info = read_facts(path)
    before, after = (100 * info["ap_search"][when] for when in ("before", "after"))
    logger.info(
        "%s: %s from %s, %d steps at rate %g: AP on the search split %.1f -> %.1f (%+.1f)",
        path, what, info["start"], info["steps"], info["rate"], before, after, after - before,
    )  # fmt: skip
