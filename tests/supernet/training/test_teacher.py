"""A teacher sees its own rendition of the batch, and gives maps of the students' size."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import Augmentation, Batch, SampleRequest, TrainingImages, collate
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import Heads, LitePose
from litepose_ofa.supernet.training.distributed import SINGLE
from litepose_ofa.supernet.training.teacher import Teacher, Teachers


@pytest.fixture
def network(tiny: SearchSpace, randomise: Callable[..., Any]) -> LitePose:
    return randomise(LitePose(tiny.largest()), 0).train()  # type: ignore[no-any-return]


@pytest.fixture
def batch(people: KeypointDataset) -> Batch:
    """Three augmented images of 64 pixels, with renditions of 96."""
    images = TrainingImages(people, augmentation=Augmentation())
    return collate([images[SampleRequest(index, 64, index, 96)] for index in range(3)])


class Blobs(nn.Module):
    """Stands in for a network: Gaussians at one place of the image, at any resolution; notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.num_keypoints = 14
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Heads:
        self.seen.append(tuple(images.shape))
        size = images.shape[-1]
        return self._blob(len(images), 28, size // 4), self._blob(len(images), 14, size // 2)

    def _blob(self, count: int, channels: int, size: int) -> Tensor:
        places = (torch.arange(size) + 0.5) / size
        x, y = torch.exp(-((places - 0.3) ** 2) / 0.02), torch.exp(-((places - 0.6) ** 2) / 0.02)
        return (y[:, None] * x).expand(count, channels, size, size)


def test_it_is_frozen_in_eval_mode(network: LitePose, batch: Batch) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    heads = Teacher(network, image_size=96)(batch)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert [head.requires_grad for head in heads] == [False, False]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_without_a_resolution_of_its_own_it_sees_the_batch_s_images(network: LitePose, batch: Batch) -> None:
    heads = Teacher(network, image_size=None)(batch)
    with torch.no_grad():
        expected = network(batch.images)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(heads, expected, strict=True))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_it_sees_its_own_resolution_and_its_maps_are_where_the_student_looks(size: int, batch: Batch) -> None:
    """The student's own maps of the same scene: pixel centres at half, no shift by the resizing."""
    student, network = dataclasses.replace(batch, images=torch.zeros(3, 3, size, size)), Blobs()
    ours, theirs = Teacher(network, image_size=96)(student), Blobs()(student.images)
    assert network.seen == [(3, 3, 96, 96)]
    for head, expected in zip(ours, theirs, strict=True):
        assert head.shape == expected.shape
        places = (torch.arange(head.shape[-1]) + 0.5) / head.shape[-1]
        for dim in (-1, -2):
            other = -2 if dim == -1 else -1
            centres = [(one[0, 0].sum(dim=other) * places).sum() / one[0, 0].sum() for one in (head, expected)]
            torch.testing.assert_close(centres[0], centres[1], atol=0.003, rtol=0)


def test_other_keypoints_are_refused(tiny: SearchSpace) -> None:
    teacher = Teacher(LitePose(tiny.smallest(), num_keypoints=17), image_size=None)
    teacher.require_keypoints(17)
    with pytest.raises(InputError, match="the teacher has 17 keypoints; the dataset has 14"):
        teacher.require_keypoints(14)


def test_the_largest_subnet_is_kept_as_it_was_and_found_again_in_another_process(
    tiny_supernet: LitePoseSupernet, randomise: Callable[..., Any]
) -> None:
    teachers = Teachers(None)
    assert (teachers.state_dict(), teachers.of("frozen")) == (None, None)
    wanted = extract_subnet(tiny_supernet, tiny_supernet.space.largest()).state_dict()
    teachers.freeze(tiny_supernet, SINGLE)
    randomise(tiny_supernet, 1)
    teachers.freeze(tiny_supernet, SINGLE)
    again = Teachers(None)
    again.load_state_dict(teachers.state_dict(), tiny_supernet)
    for kept in (teachers.of("frozen"), again.of("frozen")):
        assert kept is not None
        assert all(torch.equal(value, wanted[name]) for name, value in kept.model.state_dict().items())
    again.load_state_dict(None, tiny_supernet)
    assert again.of("frozen") is None


def test_a_phase_has_the_teacher_that_it_names(network: LitePose) -> None:
    external = Teacher(network, image_size=96)
    teachers = Teachers(external)
    assert [teachers.of(kind) for kind in ("none", "largest", "frozen")] == [None, None, None]
    assert teachers.of("external") is external
    with pytest.raises(InputError, match="teacher is 'external', but there is none"):
        Teachers(None).of("external")
    with pytest.raises(InputError, match="teacher is 'frozen', which only a supernet has"):
        teachers.freeze(network, SINGLE)
