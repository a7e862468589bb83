"""Images pass through in batches: read one batch ahead, in order, and nothing of them is kept but the people."""

import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.coco.dataset import BadImageError, ImageRecord, KeypointDataset
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.inference import Predictions, predict_dataset
from litepose_ofa.supernet.evaluation.people import PeoplePredictor

DOT = Skeleton(name="dot", keypoints=("dot",), limbs=(), sigmas=(0.05,), area="box")
SIDE = 96
SETTINGS = InferenceSettings(flip_test=False, refine=False, size_multiple=32)
Model = Callable[[Tensor], tuple[Tensor, Tensor]]


class DotDataset(KeypointDataset):
    """Images of one bright dot each, made when they are asked for; some cannot be read."""

    def __init__(self, count: int, *, bad: tuple[int, ...] = ()) -> None:
        nobody = np.zeros((0, 1, 3), np.float32)
        records = [ImageRecord(index, Path(f"{index}.jpg"), SIDE, SIDE, nobody) for index in range(count)]
        super().__init__(Path("dots.json"), Path("dots"), DOT, records)
        self.bad = bad
        self.read: list[int] = []
        self.on_read = threading.Condition()

    def read_image(self, index: int) -> npt.NDArray[np.uint8]:
        with self.on_read:
            self.read.append(index)
            self.on_read.notify_all()
        if index in self.bad:
            raise BadImageError(f"{index}.jpg: does not decode as an image")
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[index % SIDE, (7 * index) % SIDE] = 255
        return image


def dot_model(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Sees brightness."""
    grey = inputs.mean(dim=1, keepdim=True)
    grey = (grey - grey.amin()) / (grey.amax() - grey.amin())
    quarter = torch.nn.functional.max_pool2d(grey, 4)
    return torch.cat([quarter, torch.zeros_like(quarter)], dim=1), torch.nn.functional.max_pool2d(grey, 2)


def predict(dataset: DotDataset, model: Model = dot_model) -> Predictions:
    return predict_dataset(PeoplePredictor(model, SIDE, DOT, SETTINGS), dataset, batch_size=8)


def test_memory_grows_by_the_people_alone() -> None:
    def peak(count: int) -> tuple[int, Predictions]:
        tracemalloc.start()
        try:
            predictions = predict(DotDataset(count))
            return tracemalloc.get_traced_memory()[1], predictions
        finally:
            tracemalloc.stop()

    few, many = 64, 512
    peak(few)  # what is made at the first use
    (less, _), (more, predictions) = peak(few), peak(many)
    image_bytes = 3 * SIDE**2
    assert len(predictions.results) >= many
    assert more - less < (many - few) * image_bytes / 10


def test_the_next_batch_is_read_while_the_network_runs() -> None:
    dataset = DotDataset(24)
    reads: list[int] = []

    def model(inputs: Tensor) -> tuple[Tensor, Tensor]:
        upcoming = min(24, 8 * (len(reads) + 2))
        with dataset.on_read:
            assert dataset.on_read.wait_for(lambda: len(dataset.read) >= upcoming, timeout=20)
        reads.append(len(dataset.read))
        return dot_model(inputs)

    predict(dataset, model)
    assert reads == [16, 24, 24]  # and no further ahead than one batch
    assert sorted(dataset.read) == list(range(24))


@pytest.mark.parametrize(("bad", "fails_at"), [((17, 9), 3), ((), 2)], ids=["image", "network"])
def test_the_first_failure_ends_it_and_leaves_no_thread_behind(bad: tuple[int, ...], fails_at: int) -> None:
    dataset = DotDataset(400, bad=bad)
    seen: list[int] = []

    def model(inputs: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(inputs))
        if len(seen) == fails_at:
            raise RuntimeError("out of memory")
        return dot_model(inputs)

    with pytest.raises(BadImageError if bad else RuntimeError, match=r"^9\.jpg" if bad else "out of memory"):
        predict(dataset, model)
    assert seen == ([8] if bad else [8, 8])
    assert len(dataset.read) <= 24
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read_image")]
