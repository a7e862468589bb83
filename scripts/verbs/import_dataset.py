"""Turn a dataset of another format into a COCO-format folder: ``litepose import-dataset``."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.scripts.command.app import script
from litepose_ofa.scripts.settings.fields import Name, PathText
from litepose_ofa.scripts.settings.groups import RunSettings
from litepose_ofa.supernet.data.imports.dataset import ImportedDataset, require_new, write_dataset
from litepose_ofa.supernet.data.imports.label_studio import read_label_studio
from litepose_ofa.supernet.data.imports.lsp import read_lsp, read_lspet
from litepose_ofa.supernet.data.imports.yolo import read_yolo
from litepose_ofa.supernet.errors import shown

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[Path], ImportedDataset]] = {
    "lsp": read_lsp,
    "lspet": read_lspet,
    "yolo": read_yolo,
    "label_studio": read_label_studio,
}


class ImportDatasetVerb(RunSettings):
    kind: Literal["lsp", "lspet", "yolo", "label_studio"]
    source: PathText
    name: Name


@script("import_dataset", ImportDatasetVerb, locked=True)
def main(cfg: DictConfig) -> None:
    """Write the dataset as ``<data_root>/<name>``, say what is odd about it, and how it is named from now on."""
    folder = Path(cfg.data_root) / cfg.name
    require_new(folder)
    dataset = READERS[cfg.kind](Path(cfg.source))
    counts = {split: len(images) for split, images in dataset.splits.items()}
    with tqdm(total=sum(counts.values()), unit="image", disable=None) as bar:
        write_dataset(dataset, folder, f"imported from {shown(cfg.source)} (kind={cfg.kind})", on_image=bar.update)
    for doubt in dataset.doubts:
        logger.warning("%s", doubt)
    images = ", ".join(f"{split} {count}" for split, count in counts.items())
    logger.info("%s: images: %s; keypoints: %d", folder, images, dataset.skeleton.num_keypoints)
    named = f"--config-dir {folder} dataset={cfg.name} data_root={cfg.data_root}"  # some names are shipped options
    logger.info("look at it: litepose check-dataset %s", named)
