"""What a training sample costs beside decoding its JPEG and one warpAffine; one core.

    python benchmarks/data/loading.py --sizes 512 256

Rendered people of 640 x 480 pixels, LitePose's augmentation. ``sample`` is ``TrainingImages``: file, header, decoding,
geometry, keypoints, mask. A batch is stacked as bytes, and normalised once it is on the device. ``overhead`` is what
sample and stacking take above decoding and one warpAffine; ``normalised``, with normalising on this core too. Variants
take turns, so that another program on the machine slows all alike: medians over the images of their least times.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.augmentation import Augmentation, ColourJitter, RandomErasing
from litepose_ofa.supernet.data.loading.batches import Sample, SampleRequest, TrainingImages, collate, collate_bytes
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.validation import validate

PEOPLE = Path(__file__).parents[2] / "conf" / "people" / "street.yaml"
WIDTH, HEIGHT, BATCH = 640, 480, 16
LIMIT = 0.25
FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

Variant = Callable[[int], object]


def render_people(folder: Path, count: int) -> KeypointDataset:
    settings = validate(PeopleSettings, yaml.safe_load(PEOPLE.read_text()))
    settings = dataclasses.replace(settings, image_size=(WIDTH, HEIGHT))
    generate_split(folder, "train", count, 0, settings, CROWDPOSE)
    return KeypointDataset.load(*split_paths(folder, "train"), CROWDPOSE)


def least_ms(variants: dict[str, Variant], count: int, rounds: int) -> dict[str, float]:
    """Return the median over the images of each variant's least time."""
    times = np.full((len(variants), count), np.inf)
    for _ in range(rounds):
        for row, run in enumerate(variants.values()):
            for index in range(count):
                began = time.perf_counter()
                run(index)
                times[row, index] = min(times[row, index], time.perf_counter() - began)
    return dict(zip(variants, 1000 * np.median(times, axis=1), strict=True))


def sample_variants(dataset: KeypointDataset, size: int) -> dict[str, Variant]:
    """Return the variants to time, by name; each loads one image."""
    encoded = [np.frombuffer(record.path.read_bytes(), np.uint8) for record in dataset.records]
    published = Augmentation()
    jittered = Augmentation(
        colour=ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue_degrees=18.0),
        erasing=RandomErasing(probability=1.0),
    )
    matrices = [published.draw(index).matrix(WIDTH, HEIGHT, size) for index in range(len(dataset))]

    def warped(index: int) -> object:
        image = cv2.imdecode(encoded[index], FLAGS)
        assert image is not None
        return cv2.warpAffine(image, matrices[index], (size, size))

    def loaded(augmentation: Augmentation) -> Variant:
        images = TrainingImages(dataset, augmentation=augmentation)
        return lambda index: images[SampleRequest(index, size, index)]

    return {
        "decode": lambda index: cv2.imdecode(encoded[index], FLAGS),
        "decode and warpAffine": warped,
        "sample": loaded(published),
        "sample, jitter and erasing": loaded(jittered),
        "sample, a mosaic of 2 to 4": loaded(Augmentation(mosaic=Mosaic(probability=1.0))),
    }


def batch_ms(samples: Sequence[Sample], rounds: int) -> dict[str, float]:
    """Return the time of a batch's two ways of stacking, an image."""
    times = least_ms(
        {"stack": lambda _: collate_bytes(samples), "stack and normalise": lambda _: collate(samples)}, 1, rounds
    )
    return {name: value / len(samples) for name, value in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 256])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = render_people(Path(folder), args.images)
        mean_bytes = np.mean([os.path.getsize(record.path) for record in dataset.records])
        print(f"{args.images} images of {WIDTH} x {HEIGHT}, {mean_bytes / 1000:.0f} kB each; ms an image")
        for size in args.sizes:
            images = TrainingImages(dataset, augmentation=Augmentation())
            samples = [images[SampleRequest(index % args.images, size, index)] for index in range(BATCH)]
            times = least_ms(sample_variants(dataset, size), args.images, args.rounds)
            times |= batch_ms(samples, args.rounds)
            print(f"{size} x {size}")
            for name, value in times.items():
                print(f"  {name:28s}{value:6.2f}")
            for name, stacking in (("overhead", "stack"), ("normalised", "stack and normalise")):
                above = (times["sample"] + times[stacking]) / times["decode and warpAffine"] - 1
                over = name == "overhead" and above > LIMIT
                print(f"  {name:28s}{above:6.0%}{'  over the limit' if over else ''}")


if __name__ == "__main__":
    main()
