"""A stream of images keeps its order and never grows in memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.evaluation import inference
from litepose_ofa.supernet.evaluation.inference import WINDOW_BATCHES, predict_stream
from litepose_ofa.supernet.evaluation.people import People, PeoplePredictor

Array = npt.NDArray[Any]


class Recorder(PeoplePredictor):
    """Says how many pixels an image has instead of looking for people, and notes the batches."""

    batches: list[tuple[int, tuple[int, int]]]

    def __post_init__(self) -> None:
        self.batches = []

    def predict(self, images: Sequence[Array]) -> list[People]:
        sizes = {self.fit(image.shape[1], image.shape[0])[1] for image in images}
        assert len(sizes) == 1
        self.batches.append((len(images), sizes.pop()))
        return [(np.zeros((0, 14, 3), np.float32), np.array([image.size], np.float32)) for image in images]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(lambda images: (images, images), 64, CROWDPOSE)


def images(sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Array]]:
    for index, (width, height) in enumerate(sizes):
        yield index, np.zeros((height, width, 3), np.uint8)


def test_mixed_sizes_come_out_in_order_from_full_batches(recorder: Recorder) -> None:
    sizes = [((40, 40), (60, 40), (40, 60), (41, 41))[index % 4] for index in range(50)]
    found = list(predict_stream(recorder, images(sizes), batch_size=4))
    assert [key for key, _, _ in found] == list(range(50))
    for (width, height), (_, image, (_, scores)) in zip(sizes, found, strict=True):
        assert image.shape == (height, width, 3)
        assert scores[0] == width * height * 3
    assert {size for _, size in recorder.batches} == {(64, 64), (128, 64), (64, 128)}
    assert max(count for count, _ in recorder.batches) == 4
    assert len(recorder.batches) <= 20, "a look-ahead fills the batches"


def test_a_long_input_takes_the_place_of_several(recorder: Recorder) -> None:
    list(predict_stream(recorder, images([(256, 32)] * 16 + [(32, 32)] * 16), batch_size=8))
    assert set(recorder.batches) == {(1, (512, 64)), (8, (64, 64))}


def test_no_more_is_read_than_a_window(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(size: tuple[int, int]) -> Iterator[tuple[int, Array]]:
        nonlocal read
        for item in images([size] * 100):
            read += 1
            yield item

    most = WINDOW_BATCHES * 2 + 1
    for done, _ in enumerate(predict_stream(recorder, counted((8, 8)), batch_size=2)):
        assert read <= done + most
    assert done == 99
    monkeypatch.setattr(inference, "WINDOW_PIXELS", 3 * 100)
    read = 0
    for done, _ in enumerate(predict_stream(recorder, counted((10, 10)), batch_size=8)):
        assert read <= done + 4
    monkeypatch.setattr(inference, "WINDOW_PIXELS", 50)
    assert len(list(predict_stream(recorder, counted((10, 10)), batch_size=8))) == 100
