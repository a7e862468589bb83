"""Render people into a COCO-format folder: ``litepose generate-people``."""

import time
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from litepose_ofa.scripts.build.data import plain
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.people import GeneratePeopleVerb
from litepose_ofa.supernet.data.skeletons import get_skeleton
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.validation import validate


@script("generate_people", GeneratePeopleVerb)
def main(cfg: DictConfig) -> None:
    """Write every split that is not there yet."""
    started = time.perf_counter()
    settings = validate(PeopleSettings, plain(cfg.people), key="people")
    skeleton = get_skeleton(cfg.dataset.skeleton)
    root = Path(cfg.dataset.root)
    for split in cfg.images:
        _require_layout(cfg.dataset, split)
    with locked_folder(root / ".generate_people"):
        rendered_by = {key: cfg[key] for key in ("seed", "people", "images", "poses_from")}
        start_run(OmegaConf.create({"skeleton": skeleton.name, **rendered_by}), artefacts=("../images",))
        written = 0
        with tqdm(total=sum(cfg.images.values()), unit="image", disable=None) as bar:
            for split, count in cfg.images.items():
                bar.set_description(split)
                written += generate_split(
                    root,
                    split,
                    count,
                    cfg.seed,
                    settings,
                    skeleton,
                    poses_from=cfg.poses_from,
                    workers=cfg.workers,
                    on_progress=bar.update,
                )
        if written:
            counts = ", ".join(f"{split} {count}" for split, count in cfg.images.items())
            print(f"{written} images in {time.perf_counter() - started:.0f} s: {counts} in {root}")
        else:
            print(f"{root} is complete")


def _require_layout(dataset: DictConfig, split: str) -> None:
    """Refuse a dataset config that would not read what is rendered here, such as COCO's own folder."""
    annotations, images = split_paths(Path(), split)
    if dataset.get(split) != {"annotations": str(annotations), "images": str(images)}:
        name, where = dataset["name"], f"{annotations} and {images}"
        raise InputError(f"dataset {name!r} does not read split {split!r} from {where}; rendering needs dataset=people")
