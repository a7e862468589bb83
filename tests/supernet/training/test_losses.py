"""Losses against golden values and against plain loops."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.training.losses import heatmap_loss, tag_guide_loss, tag_loss


def golden_maps() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prediction, target (both 3 channels), mask and tags of the golden case."""
    v = torch.arange(2 * 6 * 8 * 8, dtype=torch.float64).reshape(2, 6, 8, 8)
    mask = (torch.arange(2 * 8 * 8).reshape(2, 8, 8) % 5 > 0).double()
    prediction = torch.sin(0.1 * v)
    return prediction[:, :3], torch.cos(0.07 * v[:, :3]) ** 2, mask, prediction[:, 3:]


def golden_keypoints() -> Tensor:
    keypoints = torch.zeros(2, 3, 3, 3, dtype=torch.float64)
    for b in range(2):
        for p in range(3 - b):
            for k in range(3 - (p + b) % 2):
                keypoints[b, p, k] = torch.tensor([(2 * p + k + b) % 8, (3 * k + p + 2 * b) % 8, 2])
    return keypoints


def random_case(seed: int) -> tuple[Tensor, Tensor]:
    """Tags (3, 5, 7, 9) and four people an image, some without joints, some joints outside."""
    generator = torch.Generator().manual_seed(seed)
    tags = torch.randn(3, 5, 7, 9, generator=generator, dtype=torch.float64)
    points = torch.rand(3, 4, 5, 2, generator=generator, dtype=torch.float64) * 11 - 1
    visibility = torch.randint(0, 3, (3, 4, 5, 1), generator=generator)
    visibility[0, 1] = 0
    visibility[2] = 0
    return tags, torch.cat([points, visibility], dim=-1)


def people_of(tags: Tensor, keypoints: Tensor) -> list[tuple[list[float], list[float]]]:
    """Tags and x of the joints of everyone in one image who has any."""
    people = []
    for person in keypoints.tolist():
        joints = [
            (float(tags[k, math.floor(y), math.floor(x)]), x)
            for k, (x, y, v) in enumerate(person)
            if v > 0 and 0 <= x < tags.shape[2] and 0 <= y < tags.shape[1]
        ]
        if joints:
            people.append(([tag for tag, _ in joints], [x for _, x in joints]))
    return people


def plain_tag_loss(tags: Tensor, keypoints: Tensor) -> tuple[float, float]:
    pushes, pulls = [], []
    for image_tags, image_keypoints in zip(tags, keypoints, strict=True):
        people = [values for values, _ in people_of(image_tags, image_keypoints)]
        means = [sum(values) / len(values) for values in people]
        spreads = [
            sum((t - mean) ** 2 for t in values) / len(values) for values, mean in zip(people, means, strict=True)
        ]
        pulls.append(sum(spreads) / max(len(people), 1))
        pairs = [math.exp(-((a - b) ** 2)) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
        pushes.append(0.5 * sum(pairs) / max(len(pairs), 1))
    return sum(pushes) / len(pushes), sum(pulls) / len(pulls)


def test_golden_losses(reference_path: Callable[[str], Path]) -> None:
    golden = read_json(reference_path("golden/grouping_and_losses.json"))["loss"]
    prediction, target, mask, tags = golden_maps()
    push, pull = tag_loss(tags, golden_keypoints())
    assert heatmap_loss(prediction, target, mask).tolist() == pytest.approx(golden["heatmap"], abs=1e-9)
    assert float(push) == pytest.approx(golden["push"], abs=1e-9)
    assert float(pull) == pytest.approx(golden["pull"], abs=1e-9)


def test_heatmap_loss_equals_the_plain_sum() -> None:
    prediction, target, mask, _ = golden_maps()
    for foreground_weight in (0.0, 5.0):
        weight = mask[:, None] * (1 + foreground_weight * target)
        expected = ((prediction - target) ** 2 * weight).sum(dim=(1, 2, 3)) / (3 * 8 * 8)
        loss = heatmap_loss(prediction, target, mask, foreground_weight=foreground_weight)
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("seed", range(6))
def test_tag_loss_equals_plain_loops(seed: int) -> None:
    tags, keypoints = random_case(seed)
    push, pull = tag_loss(tags, keypoints)
    assert (float(push), float(pull)) == pytest.approx(plain_tag_loss(tags, keypoints), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_tag_guide_equals_plain_loops(seed: int) -> None:
    tags, keypoints = random_case(seed)
    images = []
    for image_tags, image_keypoints in zip(tags, keypoints, strict=True):
        errors = []
        for values, xs in people_of(image_tags, image_keypoints):
            target = 4 * (sum(xs) / len(xs) / 9 - 0.5)
            errors.extend((tag - target) ** 2 for tag in values)
        images.append(sum(errors) / max(len(errors), 1))
    assert images[2] == 0, "nobody is there"
    assert float(tag_guide_loss(tags, keypoints, scale=4.0)) == pytest.approx(sum(images) / 3, abs=1e-12)


@pytest.mark.parametrize("shape", [(2, 0, 3, 3), (2, 4, 3, 3)])
def test_without_people_everything_is_zero_and_finite(shape: tuple[int, ...]) -> None:
    tags = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    keypoints = torch.zeros(shape)
    losses = [*tag_loss(tags, keypoints), tag_guide_loss(tags, keypoints)]
    assert [loss.item() for loss in losses] == [0, 0, 0]
    sum(losses, start=torch.zeros(())).backward()
    assert tags.grad is not None
    assert tags.grad.count_nonzero() == 0
