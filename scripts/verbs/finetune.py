"""Train one network on, alone, from the supernet's weights or from scratch; started again, it goes on."""

import logging
import os
from functools import partial
from typing import Annotated, Any

import torch
from omegaconf import DictConfig, open_dict

from litepose_ofa.scripts.build.data import plain, settings_of
from litepose_ofa.scripts.build.finetuning import Finetuning, start_trial
from litepose_ofa.scripts.build.networks import build_device
from litepose_ofa.scripts.build.training import hold_folder, train_to_the_end
from litepose_ofa.scripts.command.app import run_folder, script
from litepose_ofa.scripts.settings.fields import Name, NotEmpty, PathText, Text
from litepose_ofa.scripts.settings.groups import (
    DeviceSettings,
    MeasuringSettings,
    Share,
    TeacherSettings,
    TrainingSettings,
    TuneSettings,
)
from litepose_ofa.search.tuning.trials import (
    HalvingSettings,
    SamplingSettings,
    best_outcome,
    read_facts,
    sample_trials,
    write_trials,
)
from litepose_ofa.search.workspace import SUBNET_FILE
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.shipped import tell_shipped
from litepose_ofa.supernet.network.checkpoints import load_subnet, save_network
from litepose_ofa.supernet.network.extract import copy_of
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import TORCHRUN_VARIABLES, Process, joined_process_group
from litepose_ofa.supernet.training.trainer import CHECKPOINTS_FOLDER
from litepose_ofa.supernet.validation import Allowed, Positive

logger = logging.getLogger(__name__)

TRIALS_FILE = "tune.csv"


class FinetuneVerb(MeasuringSettings):
    device: DeviceSettings
    training: TrainingSettings
    tune: TuneSettings
    tier: Name
    arch: Text | None
    start: Annotated[
        str, NotEmpty, Allowed("supernet, scratch, a file of weights, an export folder or a shipped network")
    ]
    supernet: PathText | None
    share: Share
    rate: Positive
    teacher: TeacherSettings


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
    finetuning = Finetuning(cfg, process)
    (arch,) = finetuning.archs()
    trainer = finetuning.trainer(arch, cfg.rate, run_folder(), validate=True)
    _record_source(cfg, finetuning, [arch])
    with hold_folder(cfg, process, result=SUBNET_FILE, artefact=CHECKPOINTS_FOLDER) as is_finished:
        if is_finished:
            _report("already finetuned")
            return
        train_to_the_end(trainer)
        network = trainer.trained
        assert isinstance(network, LitePose)
        _finish(cfg, finetuning, network, cfg.rate)
        if process.is_main:
            _report("finetuned")


def _tune(cfg: DictConfig, device: torch.device) -> None:
    if all(name in os.environ for name in TORCHRUN_VARIABLES):
        raise InputError("tune=asha starts processes of its own; run it without torchrun")
    from litepose_ofa.search.tuning.asha import TRIALS_FOLDER, run_asha  # Ray is needed here alone, and takes a second

    folder, process = run_folder(), Process(device=device)
    gpus = int(device.type == "cuda") if cfg.tune.get("gpus") is None else cfg.tune.gpus
    sampling = settings_of(SamplingSettings, cfg.tune, "tune")
    halving = settings_of(HalvingSettings, cfg.tune, "tune", gpus=gpus)
    finetuning = Finetuning(cfg, process)
    archs = finetuning.archs(sampling.candidates)
    trials = sample_trials(archs, sampling, seed=cfg.seed)
    _record_source(cfg, finetuning, archs)
    with hold_folder(cfg, process, result=SUBNET_FILE, artefact=TRIALS_FOLDER) as is_finished:
        if is_finished:
            _report("already finetuned")
            return
        start = partial(start_trial, plain(cfg), halving.cpus)
        outcomes = run_asha(start, trials, halving, steps=finetuning.steps, folder=folder)
        write_trials(folder / TRIALS_FILE, outcomes, cfg.training.learning_rate.peak)
        best = best_outcome(outcomes).trial
        network = load_subnet(folder / TRIALS_FOLDER / best.name / SUBNET_FILE).to(device)
        tuning = {"trial": best.name, "num_trials": len(trials)}
        before, after = _finish(cfg, finetuning, network, best.rate, tuning=tuning)
        _report(f"best of {len(trials)} trials")
        resource, amount = halving.resource
        hours = amount * sum(outcome.seconds for outcome in outcomes) / 3600
        logger.info(
            "%.3g %s-hours: AP %.1f, %+.3g AP points per %s-hour",
            hours, resource, 100 * after, 100 * (after - before) / hours, resource,
        )  # fmt: skip


def _record_source(cfg: DictConfig, finetuning: Finetuning, archs: list[Arch]) -> None:
    """Put the contents of the files that a run depends on beside its settings, so that it goes on with no others."""
    with open_dict(cfg):
        cfg.source = finetuning.describe(archs)


def _finish(
    cfg: DictConfig, finetuning: Finetuning, network: LitePose, rate: float, **more: Any
) -> tuple[float, float]:
    """Measure a network before and after its finetuning, and save it with the facts, BN recalibrated."""
    tell_shipped(cfg.start, cfg.supernet, cfg.teacher.weights)
    before, after = (finetuning.measure(each) for each in (finetuning.network(network.arch), network))
    facts = {
        **plain(cfg.source),
        "start": cfg.start,
        "teacher": cfg.teacher.weights,
        "steps": finetuning.steps,
        "rate": rate,
        "seed": cfg.seed,
        "dataset": cfg.dataset.name,
        "images": len(finetuning.images),
        "ap_search": {"before": before, "after": after},
        **more,
    }
    if finetuning.process.is_main:
        calibration, skeleton = finetuning.validator(network.arch).calibration, finetuning.images.dataset.skeleton
        recalibrated = calibration.apply(copy_of(network, network.arch))
        save_network(run_folder() / SUBNET_FILE, recalibrated, facts, skeleton=skeleton)
    return before, after


def _report(what: str) -> None:
    path = run_folder() / SUBNET_FILE
    info = read_facts(path)
    before, after = (100 * info["ap_search"][when] for when in ("before", "after"))
    logger.info(
        "%s: %s from %s, %d steps at rate %g: AP on the search split %.1f -> %.1f (%+.1f)",
        path, what, info["start"], info["steps"], info["rate"], before, after, after - before,
    )  # fmt: skip
