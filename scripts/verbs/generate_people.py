"""Render people into a COCO-format folder: ``litepose generate-people``."""

import time
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig, OmegaConf
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.scripts.build.data import settings_of
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.fields import Name, PathText, SomeWorkers, fields_of
from litepose_ofa.scripts.settings.groups import RunSettings
from litepose_ofa.supernet.data.skeletons import get_skeleton
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import locked_folder


class GeneratePeopleVerb(RunSettings):
    people: fields_of(PeopleSettings)  # type: ignore[valid-type]
    images: dict[Name, Annotated[int, Field(ge=1, le=10_000_000)]]
    poses_from: PathText | None
    workers: SomeWorkers


@script("generate_people", GeneratePeopleVerb)
def main(cfg: DictConfig) -> None:
    """Write every split that is not there yet."""
    started = time.perf_counter()
    settings = settings_of(PeopleSettings, cfg.people, "people")
    skeleton = get_skeleton(cfg.dataset.skeleton)
    root = Path(cfg.dataset.root)
    for split in cfg.images:  # not into the folder of a dataset that is laid out otherwise, such as COCO's own
        annotations, images = split_paths(Path(), split)
        if cfg.dataset.get(split) != {"annotations": str(annotations), "images": str(images)}:
            raise InputError(
                f"dataset {cfg.dataset.name!r} does not read split {split!r} from {annotations} and {images}; "
                "rendering needs dataset=people"
            )
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
