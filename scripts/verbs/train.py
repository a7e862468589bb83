"""Train one supernet, in one process or under torchrun; started again, it goes on from where it was."""

import logging
from pathlib import Path

import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build import training
from litepose_ofa.scripts.build.data import build_space, build_splits, build_training_images
from litepose_ofa.scripts.build.networks import build_device, build_teacher, build_validator
from litepose_ofa.scripts.command.app import run_folder, script
from litepose_ofa.scripts.settings.fields import PathText
from litepose_ofa.scripts.settings.groups import MeasuringSettings, RecipeSettings, TeacherSettings, TrainingSettings
from litepose_ofa.search.workspace import SUPERNET_FILE
from litepose_ofa.supernet.export.loading import find_weights
from litepose_ofa.supernet.export.shipped import named_path, tell_shipped
from litepose_ofa.supernet.network.checkpoints import load_weights, save_network, weights_digest
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.training.distributed import Process, joined_process_group
from litepose_ofa.supernet.training.recipe import SupernetPlan
from litepose_ofa.supernet.training.trainer import CHECKPOINTS_FOLDER, Trainer
from litepose_ofa.supernet.training.validation import validated_archs

logger = logging.getLogger(__name__)


class TrainVerb(MeasuringSettings):
    training: TrainingSettings
    recipe: RecipeSettings
    init_from: PathText | None
    teacher: TeacherSettings


@script("train", TrainVerb)
def main(cfg: DictConfig) -> None:
    """Compose, build, train, save ``supernet.safetensors``."""
    with joined_process_group(build_device(cfg)) as process:
        path = run_folder() / SUPERNET_FILE
        trainer = _build_trainer(cfg, path.parent, process)
        with training.hold_folder(cfg, process, result=path.name, artefact=CHECKPOINTS_FOLDER) as is_finished:
            if is_finished:
                logger.info("%s: already trained", path)
                return
            tell_shipped(cfg.init_from, cfg.teacher.weights)
            training.train_to_the_end(trainer)
            if not process.is_main:
                return
            supernet = trainer.trained
            assert isinstance(supernet, LitePoseSupernet)
            info = {
                "steps": trainer.step,
                "seed": cfg.seed,
                "dataset": cfg.dataset.name,
                "images": len(trainer.images.dataset),
                "mixture": {
                    member.name: {"images": len(member.dataset), "share": member.share}
                    for member in trainer.images.mixture
                },
                "held_out": build_splits(cfg).held_out(),
            }
            save_network(path, supernet, info, skeleton=trainer.images.dataset.skeleton)
            logger.info("%s: trained for %d steps, weights %s", path, trainer.step, weights_digest(supernet))


def _build_trainer(cfg: DictConfig, folder: Path, process: Process) -> Trainer:
    space, settings = build_space(cfg), training.build_training_settings(cfg)
    images = build_training_images(cfg)
    phases = training.build_phases(cfg, len(images))
    num_keypoints = images.dataset.skeleton.num_keypoints
    torch.manual_seed(cfg.seed)
    supernet = LitePoseSupernet(space, num_keypoints)
    if cfg.init_from is not None:
        load_weights(supernet, find_weights(named_path(cfg.init_from, "init_from")))
    teacher = build_teacher(cfg, num_keypoints, process.device)
    training.check_teachers(phases, teacher, starts_trained=cfg.init_from is not None)
    validator = None
    if settings.validate_every:
        validator = build_validator(cfg, validated_archs(space), process, images=cfg.training.validation_images)
    return Trainer(
        supernet,
        images,
        SupernetPlan(space, phases, cfg.seed),
        settings,
        folder=folder,
        process=process,
        teacher=teacher,
        validate=validator,
    )
