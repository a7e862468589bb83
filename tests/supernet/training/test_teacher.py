"""A teacher sees its own rendition of the batch, and gives maps of the students' size."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import Augmentation, Batch, SampleRequest, TrainingImages, collate
from litepose_ofa.supernet.network.litepose import Heads, LitePose
from litepose_ofa.supernet.training.teacher import Teacher


@pytest.fixture
def batch(people: KeypointDataset) -> Batch:
    """Three augmented images of 64 pixels, with renditions of 96."""
    images = TrainingImages(people, augmentation=Augmentation())
    return collate([images[SampleRequest(index, 64, index, 96)] for index in range(3)])


class Ramp(nn.Module):
    """Stands in for a network: maps that say how far right one is in the image, at any resolution."""

    def forward(self, images: Tensor) -> Heads:
        side = images.shape[-1]
        first, second = ((torch.arange(size) + 0.5) / size for size in (side // 4, side // 2))
        return first.expand(len(images), 28, len(first), -1), second.expand(len(images), 14, len(second), -1)


def test_it_is_frozen_in_eval_mode_and_sees_the_batch_s_images(
    tiny: SearchSpace, randomise: Callable[..., Any], batch: Batch
) -> None:
    network = randomise(LitePose(tiny.largest()), 0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    heads = Teacher(network, image_size=None)(batch)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for ours, theirs in zip(heads, network(batch.images), strict=True):
        assert not ours.requires_grad
        assert torch.equal(ours, theirs)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("size", [32, 64, 128])
def test_it_sees_its_own_resolution_and_its_maps_are_where_the_student_looks(size: int, batch: Batch) -> None:
    """The student's own maps of the same scene, but at the edges: no shift by the resizing."""
    student = dataclasses.replace(batch, images=torch.zeros(3, 3, size, size))
    heads, expected = Teacher(cast(LitePose, Ramp()), image_size=96)(student), Ramp()(student.images)
    for head, wanted in zip(heads, expected, strict=True):
        torch.testing.assert_close(head[..., 2:-2], wanted[..., 2:-2], atol=0.003, rtol=0)
