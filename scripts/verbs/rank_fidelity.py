"""Train subnets alone and compare their ranking with the one they have inside the supernet; resumable."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from omegaconf import DictConfig
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.scripts.build.data import build_training_images, plain
from litepose_ofa.scripts.build.networks import build_device, build_subnet_evaluator, build_validator
from litepose_ofa.scripts.build.training import (
    build_learning_rate,
    build_training_settings,
    train_to_the_end,
    training_steps,
)
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.scripts.settings.fields import PathText, SomeWorkers
from litepose_ofa.scripts.settings.groups import MeasuringSettings, Split, TrainingSettings
from litepose_ofa.scripts.settings.threads import thread_count
from litepose_ofa.search.accuracy.sampling import stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.search.reporting.page.drawing import save_png
from litepose_ofa.search.reporting.page.sensitivity_section import fidelity_blocks
from litepose_ofa.search.trust.equal_macs import equal_macs_genomes
from litepose_ofa.search.trust.rank_fidelity import FidelityRecord, Group, fidelity_report, format_fidelity
from litepose_ofa.search.workers.session import ray_session, worker_error
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.files import read_json, write_json
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.recipe import Phase, SubnetPlan
from litepose_ofa.supernet.training.trainer import Trainer
from litepose_ofa.supernet.validation import Count, NonNegative, Positive

logger = logging.getLogger(__name__)

ALONE_FOLDER = "alone"
RESULT_FILE = "result.json"

Job = tuple[Arch, int]
"""An architecture, and the seed it is trained with."""


class RankFidelityVerb(MeasuringSettings):
    training: TrainingSettings
    num_subnets: Annotated[int, Field(ge=3, le=10_000)]
    macs_tolerance: Positive
    seeds: Annotated[int, Field(ge=1, le=1_000)]
    top_k: Count
    supernet: PathText | None
    split: Split
    parallel: SomeWorkers
    gpus: NonNegative


@script("rank_fidelity", RankFidelityVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Choose subnets, train them alone, measure them inside the supernet, compare."""
    require(cfg.top_k <= cfg.num_subnets, "top_k", cfg.top_k, f"at most num_subnets, {cfg.num_subnets}")
    subnets = build_subnet_evaluator(cfg, cfg.split)
    cost = CostModel(subnets.space, num_keypoints=subnets.num_keypoints)
    spread = stratified_genomes(cost, cfg.num_subnets, np.random.default_rng(cfg.seed))
    equal = equal_macs_genomes(cost, cfg.num_subnets, np.random.default_rng(cfg.seed), tolerance=cfg.macs_tolerance)
    groups: dict[Group, Genomes] = {"spread": spread, "equal_macs": equal}
    free = ("num_subnets", "seeds", "top_k", "supernet", "parallel", "gpus", "macs_tolerance")
    folder = start_run(cfg, artefacts=(ALONE_FOLDER,), ignore=free)
    archs = [arch for genomes in groups.values() for arch in cost.codec.decode_many(genomes)]
    jobs = [(arch, seed) for arch in dict.fromkeys(archs) for seed in range(cfg.seeds)]
    trained = _train_all(cfg, jobs, folder / ALONE_FOLDER)
    inherited = {arch: subnets.measure(arch) for arch in tqdm(dict.fromkeys(archs), unit="subnet", disable=None)}
    records = [
        FidelityRecord(
            group=group,
            arch_digest=arch.digest,
            macs=int(macs),
            inherited_ap=inherited[arch],
            trained_aps=tuple(trained[arch, seed] for seed in range(cfg.seeds)),
        )
        for group, genomes in groups.items()
        for arch, macs in zip(cost.codec.decode_many(genomes), cost.evaluate(genomes)["macs"], strict=True)
    ]
    report = fidelity_report(records, top_k=cfg.top_k)
    record = {
        "report": report,
        "records": [dataclasses.asdict(record) for record in records],
        "archs": {arch.digest: arch.to_dict() for arch in archs},
        "steps": training_steps(cfg, len(build_training_images(cfg))),
        "measured_on": subnets.identity,
    }
    write_json(folder / "rank_fidelity.json", record)
    save_png(folder / "rank_fidelity.png", fidelity_blocks(record), "Rank fidelity")
    logger.info("%s", format_fidelity(report))
    logger.info("%s, rank_fidelity.json", folder / "rank_fidelity.png")


def _train_all(cfg: DictConfig, jobs: list[Job], folder: Path) -> dict[Job, float]:
    """Return the AP of every job, trained if it was not before."""
    done = {job: ap for job in jobs if (ap := _result_of(folder, job)) is not None}
    waiting = [job for job in jobs if job not in done]
    logger.info("%d networks to train alone, %d trained before", len(waiting), len(done))
    with tqdm(total=len(jobs), initial=len(done), unit="network", disable=None) as bar:
        for job, ap in _trained(cfg, waiting, folder):
            done[job] = ap
            bar.update()
            logger.info("%s seed %d: AP %.1f alone", job[0].digest, job[1], 100 * ap)
    return done


def _trained(cfg: DictConfig, jobs: list[Job], folder: Path) -> Iterator[tuple[Job, float]]:
    """Yield the AP of each job: one after the other, or ``parallel`` of them at a time as they finish."""
    config = plain(cfg)
    if cfg.parallel == 1:
        yield from ((job, train_alone(config, job, folder, train_to_the_end)) for job in jobs)
        return
    import ray  # takes a second

    config["threads"] = thread_count(cfg.threads, processes=cfg.parallel)
    with ray_session(num_cpus=cfg.parallel):
        train = ray.remote(num_cpus=1, num_gpus=cfg.gpus)(train_alone)
        running = {train.remote(config, job, folder.resolve()): job for job in jobs}
        while running:
            (finished,), _ = ray.wait(list(running))
            try:
                yield running.pop(finished), ray.get(finished)
            except ray.exceptions.RayError as error:
                raise worker_error(error) from None


def resume_and_train(trainer: Trainer) -> None:
    """Train to the end and say nothing, as in a worker of Ray; it ends when Ray kills it."""
    trainer.resume()
    trainer.train()


def train_alone(
    config: Mapping[str, Any], job: Job, folder: Path, run: Callable[[Trainer], None] = resume_and_train
) -> float:
    """Train one network from scratch by the training group's recipe, in a folder of its own; goes on after a kill.

    Returns:
        AP in [0, 1] on the split, batch norm recalibrated as for subnets of the supernet.
    """
    cfg = literal_config(config)
    arch, seed = job
    images, process = build_training_images(cfg), Process(device=build_device(cfg))
    settings = dataclasses.replace(build_training_settings(cfg), seed=seed, validate_every=0)
    steps = training_steps(cfg, len(images))
    phase = Phase("alone", steps, build_learning_rate(cfg), rule="largest", teacher="none")
    torch.manual_seed(seed)
    network = LitePose(arch, images.dataset.skeleton.num_keypoints)
    own = _folder_of(folder, job)
    trainer = Trainer(network, images, SubnetPlan(arch, phase), settings, folder=own, process=process)
    run(trainer)
    ap = build_validator(cfg, {"alone": arch}, process, split=cfg.split)(trainer.trained)["alone"]
    write_json(own / RESULT_FILE, {"ap": ap, "seed": seed, "steps": steps, "arch": arch.to_dict()})
    trainer.store.clear()
    return ap


def _folder_of(folder: Path, job: Job) -> Path:
    return folder / f"{job[0].digest}-{job[1]}"


def _result_of(folder: Path, job: Job) -> float | None:
    """Return the AP of a network that is trained; one whose record was damaged is trained again."""
    try:
        return float(read_json(_folder_of(folder, job) / RESULT_FILE)["ap"])
    except (InputError, KeyError, TypeError, ValueError):
        return None
