"""From the composed config to the training of one network alone: which, from what weights, with what teacher."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from pydantic import Field

from litepose_ofa.scripts.build.data import build_space, build_training_images, find_arch, load_split, plain
from litepose_ofa.scripts.build.networks import (
    build_device,
    build_teacher,
    build_validator,
    find_weights,
    load_trained_supernet,
)
from litepose_ofa.scripts.build.training import build_learning_rate, build_training_settings, steps_of
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.search.tuning.trials import FinetuningTrial
from litepose_ofa.search.workspace import SUBNET_FILE, Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.export.bundle import ARCH_FILE
from litepose_ofa.supernet.export.runtime import is_runtime_file
from litepose_ofa.supernet.network.checkpoints import load_weights, read_description, save_subnet, weights_digest
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.recipe import Phase, SubnetPlan
from litepose_ofa.supernet.training.teacher import Teacher
from litepose_ofa.supernet.training.trainer import Trainer
from litepose_ofa.supernet.training.validation import Validator, copy_of
from litepose_ofa.supernet.validation import Checked, validate

SUPERNET = "supernet"
SCRATCH = "scratch"


class _Measured(Checked):
    before: float
    after: float


class _Facts(Checked, extra="ignore"):
    """What is read back of the facts that a finetuned network's file states."""

    archs: Annotated[list[str], Field(min_length=1)]
    supernet: str | None
    start: str
    steps: int
    rate: float
    ap_search: _Measured


def read_facts(path: Path) -> dict[str, Any]:
    """Return what a finetuned network's file says of its finetuning.

    Raises:
        InputError: If it is missing, damaged, or of a network that was not finetuned.
    """
    facts: dict[str, Any] = read_description(path)["info"]
    validate(_Facts, facts, f"{path}: is not of a finetuned network")
    return facts


class Finetuning:
    """Builds the trainings of one config.

    Args:
        cfg: The composed config.
        process: This rank.

    Raises:
        InputError: If a setting is impossible, or a file it names is missing or does not fit.
    """

    def __init__(self, cfg: DictConfig, process: Process) -> None:
        starts = f"{SUPERNET}, {SCRATCH}, a file of weights or an export folder"
        trainable = not is_runtime_file(Path(cfg.start))
        require(trainable, "start", cfg.start, f"{starts}; a runtime's file cannot be trained")
        self.cfg = cfg
        self.process = process
        self.settings = build_training_settings(cfg)
        self.images = build_training_images(cfg)
        self.num_keypoints = self.images.dataset.skeleton.num_keypoints
        per_epoch = len(self.images) // self.settings.batch_size
        self.steps = max(1, round(cfg.share * steps_of(plain(cfg.training), "training", per_epoch)))
        needed = SUPERNET in (cfg.start, cfg.teacher.weights)
        self.supernet = load_trained_supernet(cfg, process.device) if needed else None
        self.supernet_digest = weights_digest(self.supernet) if self.supernet is not None else None
        self._weights = None if cfg.start in (SUPERNET, SCRATCH) else find_weights(Path(cfg.start))
        self.teacher = self._build_teacher()

    def archs(self, count: int = 1) -> list[Arch]:
        """Return the architecture that is named, or of the export to start from, or the best of the search's front.

        Raises:
            InputError: If nothing was searched, or it was on another supernet than the one to start from.
        """
        cfg = self.cfg
        if cfg.arch is not None:
            archs = [find_arch(build_space(cfg), cfg.arch)]
        elif self._weights is not None and Path(cfg.start).is_dir():
            archs = [Arch.load(self._weights.with_name(ARCH_FILE))]
        else:
            outcome = SearchOutcome.load(Workspace(Path(cfg.workspace)).search(cfg.device.name, cfg.tier))
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
        """Return what trains an architecture in a folder, from the start.

        Args:
            arch: The architecture.
            rate: Factor of the learning rate.
            folder: Where checkpoints and metrics go.
            validate: Whether to measure it every ``training.validate_every`` steps.
        """
        phase = Phase(
            name="finetune",
            steps=self.steps,
            learning_rate=build_learning_rate(self.cfg, rate),
            rule="largest",
            num_random=0,
            teacher="none" if self.teacher is None else "external",
        )
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
        validator = self.validator(network.arch)
        validator.dataset = load_split(self.cfg, "search")
        return validator(network)["subnet"]

    def recalibrated(self, network: LitePose) -> LitePose:
        """Return a copy with batch-norm statistics of its own, in eval mode."""
        return self.validator(network.arch).calibration.apply(copy_of(network, network.arch))

    def _build_teacher(self) -> Teacher | None:
        teacher = self.cfg.teacher
        if teacher.weights != SUPERNET:
            return build_teacher(self.cfg, self.num_keypoints, self.process.device)
        require(teacher.arch is None, "teacher.arch", teacher.arch, f"null with teacher.weights={SUPERNET}")
        assert self.supernet is not None
        largest = self.supernet.space.largest()
        network = self.validator(largest).calibration.apply(extract_subnet(self.supernet, largest))
        return Teacher(network, image_size=largest.image_size)


class TrialTraining:
    """The training of one trial; it validates when asked and keeps the network at the end.

    Args:
        finetuning: Builds it.
        trial: The trial.
        folder: Its folder; what is there is gone on from.
    """

    def __init__(self, finetuning: Finetuning, trial: FinetuningTrial, folder: Path) -> None:
        self._trainer = finetuning.trainer(trial.arch, trial.rate, folder, validate=False)
        self._validator = finetuning.validator(trial.arch)
        self._path = folder / SUBNET_FILE
        self._trainer.resume()

    def __call__(self, step: int) -> float:
        """Train to a step, and return AP on the first images of the search split; save the network at the end."""
        trainer = self._trainer
        if trainer.step < step:
            trainer.train(should_stop=lambda: trainer.step >= step)
        network = trainer.trained
        assert isinstance(network, LitePose)
        if step == trainer.plan.steps:
            save_subnet(self._path, network, skeleton=trainer.images.dataset.skeleton)
        return self._validator(network)["subnet"]


@dataclasses.dataclass(frozen=True)
class MakeTrialTraining:
    """Builds a trial's training in another process.

    Attributes:
        config: The composed config as plain values.
        threads: CPU threads of a trial.
    """

    config: dict[str, Any]
    threads: int

    def __call__(self, trial: FinetuningTrial, folder: Path) -> TrialTraining:
        """Build the training of a trial in a folder."""
        cfg = literal_config({**self.config, "threads": self.threads})
        return TrialTraining(Finetuning(cfg, Process(device=build_device(cfg))), trial, folder)
