"""Put the searches of a workspace, the finished ones, on one page, into tables and pictures; say what is missing."""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from litepose_ofa.scripts.build.data import build_skeleton, build_splits, plain, workspace_of
from litepose_ofa.scripts.build.networks import build_device, build_inference
from litepose_ofa.scripts.command.app import script, start_run
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.scripts.settings.groups import MeasuringSettings
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.sampling import AccuracySamples
from litepose_ofa.search.reporting.findings import Findings
from litepose_ofa.search.reporting.page.document import PAGE_FILE
from litepose_ofa.search.reporting.page.report_page import remove_report, samples_section, write_index, write_report
from litepose_ofa.search.reporting.page.section import Picture
from litepose_ofa.search.reporting.searches import FinishedSearch, Missing, comparable, group_name, read_searches
from litepose_ofa.search.reporting.summary import SURROGATE
from litepose_ofa.search.workspace import RUN_RECORD, Workspace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.people import PeoplePredictor
from litepose_ofa.supernet.export.loading import find_weights, load_network
from litepose_ofa.supernet.files import read_json, read_yaml
from litepose_ofa.supernet.pictures.comparison import draw_comparison, encode_jpeg, spread_indices

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_BYTES = 60_000
"""Of a JPEG: some of them have to fit into one page."""

LEAST_SCORE = 0.2


class ReportVerb(MeasuringSettings):
    samples: Annotated[int, Field(ge=0, le=1_000)]


@script("report", ReportVerb, locked=True, takes_workspace=True)
def main(cfg: DictConfig) -> None:
    """Write a report; of searches whose accuracies cannot be compared, one each in a folder of its own."""
    workspace = workspace_of(cfg)
    cells, gaps = read_searches(workspace.root, planned_cells(workspace.root))
    samples, no_samples = _load(AccuracySamples.load, workspace.samples)
    predictor, no_predictor = _load(AccuracyPredictor.load, workspace.predictor)
    gaps += [Missing(cell.device, cell.tier, reason) for reason in (*no_samples, *no_predictor) for cell in cells]
    folder = start_run(cfg)
    record = read_json(folder / RUN_RECORD)
    reports = {}
    for group in comparable(cells):
        rng = np.random.default_rng(cfg.seed)
        reports[group_name(group)] = Findings.collect(group, gaps, samples=samples, predictor=predictor, rng=rng)
    for name, findings in reports.items():
        pictures = samples_section(*draw_sample_pictures(cfg, findings.cells, cfg.samples))
        place = folder if len(reports) == 1 else folder / name
        text = write_report(place, findings, record=record, samples=pictures)
        logger.info("%s\n%s", text, place / PAGE_FILE)
    if len(reports) > 1:
        remove_report(folder, keep=[PAGE_FILE])
        write_index(folder, workspace.root, reports)
        logger.warning("The searches are of different spaces, supernets or predictors: a report each.")
        logger.info("%s leads to them", folder / PAGE_FILE)


def draw_sample_pictures(cfg: DictConfig, cells: Sequence[FinishedSearch], count: int) -> tuple[list[Picture], str]:
    """Draw what the exported subnets of one device, that with most exports, find on held-out images.

    A dataset other than the searches' gives way to the one that they recorded. With the pictures, one an image, comes a
    line on what they are or why there are none; nothing at all for a count of 0, and where a surrogate chose.
    """
    if count == 0 or all(cell.source == SURROGATE for cell in cells):
        return [], ""
    exported = [cell for cell in cells if cell.manifest is not None]
    devices = [cell.device for cell in exported]
    shown = [cell for cell in exported if cell.device == max(dict.fromkeys(devices), key=devices.count)]
    if not shown:
        return [], "Nothing is exported, so that nothing can be shown. `litepose export` cuts out the chosen subnets."
    try:
        recorded = shown[0].settings
        if recorded.get("dataset", {}).get("name", cfg.dataset.name) != cfg.dataset.name and "evaluation" in recorded:
            cfg = literal_config(plain(cfg) | {name: recorded[name] for name in ("dataset", "evaluation")})
        device, settings = build_device(cfg), build_inference(cfg)
        predictors: dict[str, PeoplePredictor] = {}
        for cell in shown:
            network, skeleton = load_network(find_weights(cell.export_folder), None, build_skeleton(cfg))
            arguments = (network.to(device), network.arch.image_size, skeleton, settings, device)
            predictors[cell.tier] = PeoplePredictor(*arguments)
        dataset = build_splits(cfg).load("val")
        pictures = [_picture(dataset, index, predictors) for index in spread_indices(dataset, count)]
    except (InputError, OmegaConfBaseException) as error:  # a record of an older version lacks what is asked for now
        return [], f"No sample predictions: {' '.join(str(error).split())}."
    tiers = ", ".join(predictors)
    return pictures, (
        f"Images of the held-out split, neither trained nor searched on, with the people that are labelled and those "
        f"that the subnets for {shown[0].device} find ({tiers}), of score {LEAST_SCORE:g} and above."
    )


def _picture(dataset: KeypointDataset, index: int, predictors: Mapping[str, PeoplePredictor]) -> Picture:
    """Draw one image: what is labelled, then what each subnet finds."""
    image, labelled, skeleton = dataset.read_image(index), dataset.records[index].keypoints, dataset.skeleton
    people, found = [("image", labelled[:0], skeleton), ("labelled", labelled, skeleton)], []
    for tier, predictor in predictors.items():
        ((keypoints, scores),) = predictor.predict([image])
        sure = keypoints[scores >= LEAST_SCORE]
        people.append((tier, sure, predictor.skeleton))
        found.append(f"{tier} {len(sure)}")
    caption = f"{len(labelled)} labelled; found: {', '.join(found)}."
    jpeg = encode_jpeg(draw_comparison(image, people), MOST_BYTES)
    return Picture(jpeg, f"An image, its labelled people, and those that each subnet finds. {caption}", caption)


def _load(load: Callable[[Path], T], path: Path) -> tuple[T | None, list[str]]:
    """Return what a file of the workspace holds, if it is there, and what is wrong with it: a report can do without."""
    try:
        return (load(path) if path.exists() else None), []
    except InputError as error:
        return None, [f"left out: {error}"]


def planned_cells(workspace: Path) -> list[tuple[str, str]]:
    """Return the devices and tiers of the workspace's last sweep, by Hydra's record of it, if it was of searches."""
    try:
        record = read_yaml(Workspace(workspace).sweep_record)["hydra"]
        if record["job"]["config_name"] != "search":
            return []
        given = dict(override.partition("=")[::2] for override in record["overrides"]["task"])
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return []
    plain = {key: value.split(",") for key, value in given.items() if not set(value) & set("()[]{}*")}
    return list(itertools.product(plain.get("device", ()), plain.get("tier", ())))
