"""Draws ``images/people.png`` and ``images/augmented.png``: rendered people, and what a training makes of them."""

import dataclasses
import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml
from PIL.Image import fromarray

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.reader import read_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.image_files import read_image_file
from litepose_ofa.supernet.data.loading.augmentation import Augmentation, ColourJitter, RandomErasing
from litepose_ofa.supernet.data.loading.batches import Sample, SampleRequest, TrainingImages, collate_bytes
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.pictures.drawing import Image, draw_annotated, draw_people, make_sheet
from litepose_ofa.supernet.training.objective import LossSettings, make_targets
from litepose_ofa.supernet.validation import validate

IMAGES = Path(__file__).parent / "images"
PRESETS = Path(__file__).parents[1] / "conf" / "people"
SEED = 7
PALETTE = 160
"""Colours of a picture: with all of them the grain would make it five times as large."""

COLUMNS = 4
SIDE = 192
"""Of an augmented input in pixels."""

MASKED = np.array([120, 0, 0], np.uint8)
PEAK = np.array([255, 210, 60])
STRONG = Augmentation(
    mask_padding=True,
    colour=ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue_degrees=18.0),
    erasing=RandomErasing(probability=1.0, count=2, area=(0.02, 0.06)),
)


def render(folder: Path, preset: str) -> tuple[Path, Path]:
    """Render ``COLUMNS`` images of 640 x 480 by a preset, once; return annotations and image folder."""
    settings = validate(PeopleSettings, yaml.safe_load((PRESETS / f"{preset}.yaml").read_text()))
    settings = dataclasses.replace(settings, image_size=(640, 480))
    generate_split(folder / preset, "train", COLUMNS, SEED, settings, CROWDPOSE)
    return split_paths(folder / preset, "train")


def draw_presets(folder: Path) -> Image:
    """Draw a picture of every preset: above as it is, below with its annotations."""
    plain: list[Image] = []
    annotated: list[Image] = []
    for preset in ("clear", "crowded", "street"):
        annotations, pictures = render(folder, preset)
        images = AnnotatedImages(read_annotations(annotations, CROWDPOSE), pictures)
        annotated.append(draw_annotated(images, 0))
        height, width = annotated[0].shape[:2]
        image = read_image_file(images[0].path, (images[0].width, images[0].height))
        plain.append(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return make_sheet([*plain, *annotated], columns=len(plain))


def draw_augmented(folder: Path) -> Image:
    """Draw inputs by the default geometry, then with colours, covers and masked padding, then their targets."""
    dataset = KeypointDataset.load(*render(folder, "street"), CROWDPOSE)
    plain, strong = (
        [TrainingImages(dataset, augmentation=augmentation)[SampleRequest(i, SIDE, SEED + i)] for i in range(COLUMNS)]
        for augmentation in (Augmentation(), STRONG)
    )
    rows = [*map(draw_input, plain), *map(draw_input, strong), *map(draw_targets, strong)]
    return make_sheet(rows, columns=COLUMNS)


def draw_input(sample: Sample) -> Image:
    """Draw the joints on an input, dark red where it is masked."""
    mask = cv2.resize(sample.mask, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return draw_people(np.where(mask[..., None] > 0, sample.image, MASKED), sample.keypoints, CROWDPOSE)


def draw_targets(sample: Sample) -> Image:
    """Draw the larger heatmaps' targets of all joints over a darkened input."""
    targets = make_targets(collate_bytes([sample]), LossSettings())
    heat = cv2.resize(targets.heatmaps[1][0].amax(dim=0).numpy(), (SIDE, SIDE))[..., None]
    drawn: Image = ((1 - heat) * 0.35 * sample.image + heat * PEAK).astype(np.uint8)
    return drawn


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory() as folder:
        for name, draw in (("people", draw_presets), ("augmented", draw_augmented)):
            with replacing(IMAGES / f"{name}.png") as temporary:
                fromarray(draw(Path(folder))).quantize(PALETTE).save(temporary, format="png")


if __name__ == "__main__":
    main()
