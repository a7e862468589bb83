"""Sample predictions for the report: held-out images with the people that the chosen subnets find, as small JPEGs."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from litepose_ofa.scripts.build.data import build_skeleton, load_split, plain
from litepose_ofa.scripts.build.networks import build_device, build_inference, find_weights, load_network
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.search.reporting.page.section import Picture
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.reporting.summary import SURROGATE
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.evaluation.people import PeoplePredictor
from litepose_ofa.supernet.pictures.drawing import FloatArray, Image, draw_people, make_sheet, resized_with_people

MOST_BYTES = 60_000
"""Of a JPEG: some of them have to fit into one page."""

TILE_SIDE = 300
TILE_COLUMNS = 3
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.55

LEAST_SCORE = 0.2
SPLIT = "val"


def draw_sample_pictures(cfg: DictConfig, cells: Sequence[FinishedSearch], count: int) -> tuple[list[Picture], str]:
    """Draw what the exported subnets of one device find on held-out images, beside what is labelled.

    The device is the one with most exports. The images go evenly from those with the fewest people to those with the
    most, so that crowds are among them.

    Args:
        cfg: The composed config; a dataset other than the searches' gives way to the one that they recorded.
        cells: Finished searches.
        count: Number of images; 0 for none.

    Returns:
        One picture an image, and a line on what they are or why there are none; nothing at all for a count of 0, and
        where a surrogate chose: it has no weights to find anybody with.
    """
    if count == 0 or all(cell.source == SURROGATE for cell in cells):
        return [], ""
    shown = _cells_to_show(cells)
    if not shown:
        return [], "Nothing is exported, so that nothing can be shown. `litepose export` cuts out the chosen subnets."
    try:
        cfg = _dataset_searched_on(cfg, shown[0])
        predictors = {cell.tier: _open(cfg, cell) for cell in shown}
        dataset = load_split(cfg, SPLIT)
        pictures = [_picture(dataset, index, predictors) for index in spread_indices(dataset, count)]
    except (InputError, OmegaConfBaseException) as error:  # a record of an older version lacks what is asked for now
        return [], f"No sample predictions: {' '.join(str(error).split())}."
    tiers = ", ".join(predictors)
    return pictures, (
        f"Images of the held-out split, neither trained nor searched on, with the people that are labelled and those "
        f"that the subnets for {shown[0].device} find ({tiers}), of score {LEAST_SCORE:g} and above."
    )


def _cells_to_show(cells: Sequence[FinishedSearch]) -> list[FinishedSearch]:
    """Return the exported searches of the device that has most of them."""
    exported = [cell for cell in cells if cell.manifest is not None]
    devices = [cell.device for cell in exported]
    best = max(dict.fromkeys(devices), key=devices.count, default=None)
    return [cell for cell in exported if cell.device == best]


def _dataset_searched_on(cfg: DictConfig, cell: FinishedSearch) -> DictConfig:
    """Return the config with the dataset that a search recorded, unless it is of this dataset already."""
    recorded = cell.settings
    if recorded.get("dataset", {}).get("name") in (None, cfg.dataset.name) or "evaluation" not in recorded:
        return cfg
    return literal_config({**plain(cfg), "dataset": recorded["dataset"], "evaluation": recorded["evaluation"]})


def _open(cfg: DictConfig, cell: FinishedSearch) -> PeoplePredictor:
    """Open the exported weights, to find people as for the accuracies.

    Raises:
        InputError: If they are missing or damaged.
    """
    network, skeleton = load_network(find_weights(cell.export_folder), None, build_skeleton(cfg))
    settings, _ = build_inference(cfg)
    device = build_device(cfg)
    return PeoplePredictor(network.to(device).eval(), network.arch.image_size, skeleton, settings, device)


def spread_indices(dataset: KeypointDataset, count: int) -> list[int]:
    """Return the indices of images with people, evenly from the fewest labelled people to the most.

    Raises:
        InputError: If no image has any.
    """
    people = np.array([len(record.keypoints) for record in dataset.records])
    order = np.argsort(people, kind="stable")
    order = order[people[order] > 0]
    require(len(order) > 0, f"{dataset.annotations_path}: the number of images with people", 0, "at least 1")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(index) for index in order[places]]


def _picture(dataset: KeypointDataset, index: int, predictors: Mapping[str, PeoplePredictor]) -> Picture:
    """Draw one image: what is labelled, then what each subnet finds.

    Raises:
        InputError: If the image cannot be read.
    """
    image, labelled = dataset.read_image(index), dataset.records[index].keypoints
    tiles = [_tile(image, labelled[:0], dataset.skeleton, "image")]
    tiles.append(_tile(image, labelled, dataset.skeleton, "labelled"))
    found = []
    for tier, predictor in predictors.items():
        ((keypoints, scores),) = predictor.predict([image])
        people = keypoints[scores >= LEAST_SCORE]
        tiles.append(_tile(image, people, predictor.skeleton, tier))
        found.append(f"{tier} {len(people)}")
    caption = f"{len(labelled)} labelled; found: {', '.join(found)}."
    sheet = make_sheet(tiles, columns=2 if len(tiles) == 4 else TILE_COLUMNS)
    return Picture(
        encode_jpeg(sheet), f"An image, its labelled people, and those that each subnet finds. {caption}", caption
    )


def _tile(image: Image, people: FloatArray, skeleton: Skeleton, title: str) -> Image:
    """Draw people on a small copy of an image, shape (H, W, 3), and whose they are in its corner."""
    small, moved = resized_with_people(image, people, TILE_SIDE)
    tile = draw_people(small, moved, skeleton)
    text = title.encode("ascii", "replace").decode()  # OpenCV's fonts have no more
    (width, height), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    cv2.rectangle(tile, (0, 0), (width + 9, height + 9), (0, 0, 0), cv2.FILLED)
    cv2.putText(tile, text, (5, height + 4), FONT, FONT_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def encode_jpeg(image: Image, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a JPEG of an RGB picture, shape (H, W, 3), of the best quality that fits; halved if it fits at none."""
    swapped = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    for quality in range(90, 0, -10):
        encoded = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        if len(encoded) <= most_bytes or max(image.shape[:2]) < 2:
            return encoded.tobytes()
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return encode_jpeg(half.astype(np.uint8, copy=False), most_bytes)
