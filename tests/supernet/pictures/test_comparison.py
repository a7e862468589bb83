"""Which images are compared, and how large their files are."""

from pathlib import Path

import cv2
import numpy as np

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split
from litepose_ofa.supernet.pictures.comparison import encode_jpeg, spread_indices


def test_images_go_from_the_fewest_people_to_the_most(tmp_path: Path) -> None:
    generate_split(tmp_path, "train", 12, 0, PeopleSettings(image_size=(96, 96)), CROWDPOSE)
    dataset = KeypointDataset.load(tmp_path / "annotations/train.json", tmp_path / "images/train", CROWDPOSE)
    people = [len(record.keypoints) for record in dataset.records]
    shown = [people[index] for index in spread_indices(dataset, 4)]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (min(filter(None, people)), max(people))
    everything = spread_indices(dataset, 10**6)
    assert len(everything) == len(set(everything)) == sum(count > 0 for count in people)


def test_a_jpeg_fits_its_limit_and_keeps_its_colours() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    assert len(encode_jpeg(noise, 20_000)) <= 20_000
    flat = encode_jpeg(np.full((30, 40, 3), (200, 10, 10), np.uint8), 20_000)
    decoded = cv2.imdecode(np.frombuffer(flat, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    assert np.abs(decoded[15, 20].astype(int) - (200, 10, 10)).max() < 12, "red stays red"
