"""From the composed config to the training of one network alone: which, from what weights, with what teacher."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import build_space, build_training_images, find_arch, workspace_of
from litepose_ofa.scripts.build.networks import build_device, build_teacher, build_validator, load_trained_supernet
from litepose_ofa.scripts.build.training import build_learning_rate, build_training_settings, training_steps
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.search.tuning.trials import FinetuningTrial
from litepose_ofa.search.workspace import SUBNET_FILE
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.export.bundle import ARCH_FILE
from litepose_ofa.supernet.export.loading import find_weights
from litepose_ofa.supernet.export.runners import is_runtime_file
from litepose_ofa.supernet.export.shipped import named_path
from litepose_ofa.supernet.network.checkpoints import load_weights, save_network, weights_digest
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.recipe import Phase, SubnetPlan, TeacherKind
from litepose_ofa.supernet.training.teacher import Teacher
from litepose_ofa.supernet.training.trainer import Trainer
from litepose_ofa.supernet.training.validation import Validator

SUPERNET = "supernet"
SCRATCH = "scratch"


class Finetuning:
    """Builds the trainings of one config, on one rank."""

    def __init__(self, cfg: DictConfig, process: Process) -> None:
        starts = f"{SUPERNET}, {SCRATCH}, a file of weights, an export folder or a shipped network"
        trainable = not is_runtime_file(Path(cfg.start))
        require(trainable, "start", cfg.start, f"{starts}; a runtime's file cannot be trained")
        self.cfg = cfg
        self.process = process
        self.settings = build_training_settings(cfg)
        self.images = build_training_images(cfg)
        self.num_keypoints = self.images.dataset.skeleton.num_keypoints
        self.steps = max(1, round(cfg.share * training_steps(cfg, len(self.images))))
        self.supernet = self.supernet_digest = None
        if SUPERNET in (cfg.start, cfg.teacher.weights):
            self.supernet = load_trained_supernet(cfg, process.device)
            self.supernet_digest = weights_digest(self.supernet)
        start = None if cfg.start in (SUPERNET, SCRATCH) else named_path(cfg.start, "start")
        self._weights = None if start is None else find_weights(start)
        self._is_export = start is not None and start.is_dir()
        self.teacher = self._build_teacher()

    def archs(self, count: int = 1) -> list[Arch]:
        """Return the architecture that is named, or of the export to start from, or the best of the search's front."""
        cfg = self.cfg
        if cfg.arch is not None:
            archs = [find_arch(build_space(cfg), cfg.arch)]
        elif self._weights is not None and self._is_export:
            archs = [Arch.load(self._weights.with_name(ARCH_FILE))]
        else:
            outcome = SearchOutcome.load(workspace_of(cfg).search(cfg.device.name, cfg.tier))
            if self.supernet_digest is not None:
                outcome.require_weights(self.supernet_digest)
            archs = [outcome.arch] if count == 1 else outcome.best(count)
        for arch in archs:
            if cfg.start == SUPERNET and not build_space(cfg).contains(arch):
                raise InputError(f"architecture {arch.digest} is not in the space {cfg.space.name!r}; start=scratch")
        return archs

    def describe(self, archs: list[Arch]) -> dict[str, Any]:
        """Return what the outcome depends on beside the config: the files' contents, by digest."""
        teacher = self.teacher if self.cfg.teacher.weights != SUPERNET else None
        return {
            "archs": [arch.digest for arch in archs],
            "supernet": self.supernet_digest,
            "start_weights": [weights_digest(self.network(arch)) for arch in archs] if self._weights else None,
            "teacher_weights": None if teacher is None else weights_digest(teacher.model),
        }

    def network(self, arch: Arch) -> LitePose:
        """Return a network with the weights to start from."""
        if self.cfg.start == SUPERNET:
            assert self.supernet is not None
            return extract_subnet(self.supernet, arch)
        torch.manual_seed(self.cfg.seed)
        network = LitePose(arch, self.num_keypoints)
        if self._weights is not None:
            load_weights(network, self._weights)
        return network.to(self.process.device)

    def trainer(self, arch: Arch, rate: float, folder: Path, *, validate: bool) -> Trainer:
        """Return what trains an architecture in a folder, at ``rate`` times the learning rate, and may validate it."""
        teacher: TeacherKind = "none" if self.teacher is None else "external"
        phase = Phase("finetune", self.steps, build_learning_rate(self.cfg, rate), rule="largest", teacher=teacher)
        settings = self.settings if validate else dataclasses.replace(self.settings, validate_every=0)
        return Trainer(
            self.network(arch),
            self.images,
            SubnetPlan(arch, phase),
            settings,
            folder=folder,
            process=self.process,
            teacher=self.teacher,
            validate=self.validator(arch) if settings.validate_every else None,
        )

    def validator(self, arch: Arch) -> Validator:
        """Return what measures the network during a training, on the first images of the search split."""
        return build_validator(self.cfg, {"subnet": arch}, self.process, images=self.cfg.training.validation_images)

    def measure(self, network: LitePose) -> float:
        """Return AP on the whole search split, in [0, 1], batch norm recalibrated; the same on every rank."""
        return build_validator(self.cfg, {"subnet": network.arch}, self.process)(network)["subnet"]

    def _build_teacher(self) -> Teacher | None:
        teacher = self.cfg.teacher
        if teacher.weights != SUPERNET:
            return build_teacher(self.cfg, self.num_keypoints, self.process.device)
        require(teacher.arch is None, "teacher.arch", teacher.arch, f"null with teacher.weights={SUPERNET}")
        assert self.supernet is not None
        largest = self.supernet.space.largest()
        network = self.validator(largest).calibration.apply(extract_subnet(self.supernet, largest))
        return Teacher(network, image_size=largest.image_size)


def start_trial(config: dict[str, Any], threads: int, trial: FinetuningTrial, folder: Path) -> Callable[[int], float]:
    """Start the training of one trial, in a process of its own; it goes on from what is in its folder.

    Returns:
        What trains to a step, and returns AP on the first images of the search split; it saves the network at the end.
    """
    cfg = literal_config({**config, "threads": threads})
    finetuning = Finetuning(cfg, Process(device=build_device(cfg)))
    trainer = finetuning.trainer(trial.arch, trial.rate, folder, validate=False)
    validator = finetuning.validator(trial.arch)
    trainer.resume()

    def train_to(step: int) -> float:
        if trainer.step < step:
            trainer.train(should_stop=lambda: trainer.step >= step)
        network = trainer.trained
        assert isinstance(network, LitePose)
        if step == trainer.plan.steps:
            save_network(folder / SUBNET_FILE, network, skeleton=trainer.images.dataset.skeleton)
        return validator(network)["subnet"]

    return train_to
