"""A spread of networks to time: files of each with random weights, and the CSV that their times go into."""

import numpy as np
import torch
import yaml
from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.few_shot import spread_networks
from litepose_ofa.latency_tables.timings import TIMINGS_FILE, write_blank
from litepose_ofa.scripts.build.data import build_skeleton, build_space, workspace_of
from litepose_ofa.scripts.build.export import build_formats
from litepose_ofa.scripts.build.networks import build_inference
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.bundle import ARCH_FILE, CONFIG_FILE, WEIGHTS_FILE, usage_of
from litepose_ofa.supernet.export.formats import ExportFormat
from litepose_ofa.supernet.files import locked_folder, replacing_folder, write_text
from litepose_ofa.supernet.network.litepose import LitePose

SPREAD_FOLDER = "spread"
"""In the place of a tier's."""


def write_spread(cfg: DictConfig) -> None:
    """Write networks of the space for a device's runtime, a folder each, and say what to do with them.

    Their weights are random, since a latency does not depend on them: nothing needs to be trained.
    """
    if cfg.arch is not None or cfg.finetuned:
        raise InputError("spread chooses the networks itself; leave out arch and finetuned")
    folder = workspace_of(cfg).export(cfg.device.name, SPREAD_FOLDER)
    space, skeleton, base = build_space(cfg), build_skeleton(cfg), LatencyTable.load(cfg.device.table)
    formats = {size: _formats(cfg, size) for size in space.image_sizes}
    archs = spread_networks(space, base, cfg.spread, skeleton.num_keypoints, seed=cfg.seed)
    names = [f"{number:02}_{arch.digest}" for number, arch in enumerate(archs, start=1)]
    with locked_folder(folder.parent):
        if folder.exists():
            raise InputError(f"{folder}: is there already, perhaps with timings; move it away")
        with replacing_folder(folder) as temporary:
            for name, arch in zip(tqdm(names, desc="networks", disable=None), archs, strict=True):
                torch.manual_seed(cfg.seed)
                network, own = LitePose(arch, skeleton.num_keypoints).eval(), temporary / name
                own.mkdir()
                arch.save(own / ARCH_FILE)
                usage = {key: value for key, value in usage_of(network, skeleton).items() if value != WEIGHTS_FILE}
                write_text(own / CONFIG_FILE, yaml.safe_dump(usage, sort_keys=False))
                for fmt in formats[arch.image_size]:
                    fmt.write(own, network)
            write_blank(temporary / TIMINGS_FILE, names)
    low, high = (base.estimate(arch, skeleton.num_keypoints).ms for arch in (archs[0], archs[-1]))
    print(f"{folder}: {len(archs)} networks with random weights, {low:.3g} to {high:.3g} ms by {base.metadata.device}")
    print(f"time them on your device and fill in the ms of {folder / TIMINGS_FILE}, then:")
    print(f"litepose calibrate-table base={cfg.device.table} measured={folder / TIMINGS_FILE} name=my_board")


def _formats(cfg: DictConfig, image_size: int) -> list[ExportFormat]:
    """Return the formats for a network's input size; the ranges of int8 are those of noise."""
    shape = (1, 3, image_size, image_size)
    rng = np.random.default_rng(cfg.seed)
    return build_formats(cfg, build_inference(cfg), lambda: rng.standard_normal(shape, np.float32))
