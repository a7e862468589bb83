"""Train one supernet; started again, it goes on from where it was."""

import logging

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from scripts.builders import (
    SUPERNET_FILE,
    build_augmentation,
    build_device,
    build_space,
    build_training_settings,
    load_split,
)
from scripts.cli import run_folder, script, start_run, stop_requested
from supernet.checkpoints import load_weights, save_supernet, weights_digest
from supernet.data.loading import TrainingImages
from supernet.elastic_litepose import LitePoseSupernet
from supernet.training.sandwich import StepResult
from supernet.training.trainer import CHECKPOINT_NAME, Trainer

logger = logging.getLogger(__name__)


@script("train_supernet")
def main(cfg: DictConfig) -> None:
    """Compose, build, train, save ``supernet.safetensors``."""
    folder = run_folder()
    space, settings, device = build_space(cfg), build_training_settings(cfg), build_device(cfg)
    dataset = load_split(cfg, "train").with_people()
    torch.manual_seed(cfg.seed)
    supernet = LitePoseSupernet(space, dataset.skeleton.num_keypoints)
    if cfg.init_from is not None:
        load_weights(supernet, cfg.init_from)
    images = TrainingImages(dataset, augmentation=build_augmentation(cfg), max_people=cfg.training.max_people)
    trainer = Trainer(supernet, images, settings, folder=folder, device=device)
    start_run(cfg, artefacts=(CHECKPOINT_NAME, SUPERNET_FILE))
    if (folder / SUPERNET_FILE).exists():
        logger.info("%s: already trained", folder / SUPERNET_FILE)
        return
    if trainer.resume():
        logger.info("going on from step %d of %d", trainer.step, settings.steps)

    with (
        tqdm(total=settings.steps, initial=trainer.step, unit="step", disable=None) as bar,
        stop_requested() as should_stop,
    ):

        def show(step: int, result: StepResult) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(largest=f"{result.losses[0]:.4f}", smallest=f"{result.losses[1]:.4f}", refresh=False)

        finished = trainer.train(on_step=show, should_stop=should_stop)
    if not finished:
        raise KeyboardInterrupt
    info = {"steps": trainer.step, "seed": cfg.seed, "dataset": cfg.dataset.name, "images": len(dataset)}
    save_supernet(folder / SUPERNET_FILE, supernet, info)
    trainer.checkpoint_path.unlink()
    for path in sorted(trainer.bad_images):
        logger.warning("skipped %s", path)
    logger.info("%s: trained for %d steps, weights %s", folder / SUPERNET_FILE, trainer.step, weights_digest(supernet))


if __name__ == "__main__":
    main()
