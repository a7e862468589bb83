"""The losses against golden values and plain loops; the objective against its definition, from the plain losses."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.data.loading.mixture import Labelling
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training.objective import (
    MARGIN,
    LossSettings,
    Targets,
    heatmap_loss,
    label_weights,
    make_targets,
    pose_loss,
    tag_guide_loss,
    tag_loss,
)

K = 14
SETTINGS = LossSettings(
    sigmas=(1.5, 2.5),
    head_weights=(1.0, 4.0),
    foreground_weight=5.0,
    tag_weight=0.002,
    guide_weight=0.02,
    guide_final=0.25,
    distillation_weight=0.3,
)


@pytest.fixture
def batch(batch_of: Callable[[int, int], Batch]) -> Batch:
    """Two images of 64 x 64; a corner of the second is not labelled."""
    plain = batch_of(2, 64)
    mask = plain.mask.clone()
    mask[1, :12, :20] = 0
    return dataclasses.replace(plain, mask=mask)


@pytest.fixture
def targets(batch: Batch) -> Targets:
    return make_targets(batch, SETTINGS)


def random_heads(seed: int) -> Heads:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, 2 * K, 16, 16, generator=generator).requires_grad_(),
        torch.randn(2, K, 32, 32, generator=generator).requires_grad_(),
    )


@pytest.mark.parametrize("sigma_size", [0, 64])
def test_targets_are_made_from_coordinates_at_each_resolution(sigma_size: int) -> None:
    """Regression: the public targets rescale joint indices by a constant, so they are right at one size only."""
    settings = LossSettings(sigmas=(1.0, 3.0), sigma_size=sigma_size)
    for size in (64, 96, 160):
        keypoints = torch.tensor([[[[0.4 * size, 0.7 * size, 2.0]]]])
        batch = Batch(torch.zeros(1, 3, size, size), keypoints, torch.ones(1, size // 2, size // 2), (1,), ())
        made = make_targets(batch, settings)
        for heatmaps, stride, sigma in zip(made.heatmaps, (4, 2), settings.sigmas, strict=True):
            x, y, side = 0.4 * size / stride, 0.7 * size / stride, torch.arange(size // stride) + 0.5
            spread = sigma * size / sigma_size if sigma_size else sigma
            expected = torch.exp(-((side - x) ** 2 + (side[:, None] - y) ** 2) / (2 * spread**2))
            near = expected > math.exp(-2)  # far away it may be cut off
            torch.testing.assert_close(heatmaps[0, 0][near], expected[near], rtol=0, atol=1e-5)
            assert heatmaps.shape == (1, 1, size // stride, size // stride)
        torch.testing.assert_close(made.keypoints[0, 0, 0], torch.tensor([0.1 * size, 0.175 * size, 2.0]))


def near_by_definition(x: float, y: float, people: list[list[list[float]]], side: int, reach: float) -> bool:
    """Say whether a point of a head's map is in a person's grown box, or under a joint's Gaussian."""
    for person in people:
        joints = [(a, b) for a, b, v in person if v > 0 and 0 <= a < side and 0 <= b < side]
        if any(abs(x - a) <= reach and abs(y - b) <= reach for a, b in joints):
            return True
        if joints:
            left, right = min(a for a, _ in joints), max(a for a, _ in joints)
            top, bottom = min(b for _, b in joints), max(b for _, b in joints)
            margin = MARGIN * max(right - left, bottom - top)
            if left - margin <= x <= right + margin and top - margin <= y <= bottom + margin:
                return True
    return False


@pytest.mark.parametrize("seed", range(4))
def test_away_from_labelled_people_the_loss_counts_by_its_weight(seed: int) -> None:
    """Two to four people of 0 to 3 joints, some at or beyond the border, one alone in an image; a corner is a crowd."""
    rng = torch.Generator().manual_seed(seed)
    size, sigmas, weight = 96, (1.0, 1.5), 0.25
    keypoints = torch.zeros(3, 4, 3, 3)
    for image, count in enumerate((2, 4, 1)):
        centres = torch.rand(count, 1, 2, generator=rng) * size
        keypoints[image, :count, :, :2] = centres + (torch.rand(count, 3, 2, generator=rng) - 0.5) * 40
        keypoints[image, :count, :, 2:] = torch.randint(0, 3, (count, 3, 1), generator=rng).float()
    keypoints[2] = 0
    keypoints[2, 0, 1] = torch.tensor([0.0, 95.9, 1.0])
    mask = torch.ones(3, size // 2, size // 2)
    mask[:, 10:20, :30] = 0
    batch = Batch(torch.zeros(3, 3, size, size), keypoints, mask, (1, 2, 3), ())
    made = make_targets(batch, LossSettings(sigmas=sigmas, unlabelled_weight=weight))
    for stride, sigma, crowds, found in zip((4, 2), sigmas, (mask[:, ::2, ::2], mask), made.masks, strict=True):
        side, scaled = size // stride, (keypoints / torch.tensor([stride, stride, 1])).tolist()
        expected = torch.empty(3, side, side)
        for image in range(3):
            for row in range(side):
                for column in range(side):
                    near = near_by_definition(column + 0.5, row + 0.5, scaled[image], side, 3 * sigma)
                    expected[image, row, column] = crowds[image, row, column] * (1 if near else weight)
        assert torch.equal(found, expected)
        assert {0.0, weight, 1.0} == set(found.unique().tolist())
    full = make_targets(batch, LossSettings(sigmas=sigmas))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(made.heatmaps, full.heatmaps, strict=True))
    assert torch.equal(full.masks[1], mask)


def test_each_picture_counts_as_its_dataset_is_labelled(batch: Batch) -> None:
    """The left half of each image is the own dataset's; the right of the first shows limbs alone, of the second all."""
    labellings = (Labelling((True,) * 12 + (False,) * 2, 1.0), Labelling((True,) * K, 0.5))
    sources = torch.zeros(2, 32, 32, dtype=torch.uint8)
    sources[0, :, 16:], sources[1, :, 16:] = 1, 2
    settings = dataclasses.replace(SETTINGS, unlabelled_weight=0.1)
    mixed = make_targets(dataclasses.replace(batch, sources=sources, labellings=labellings), settings)
    alone = {
        weight: make_targets(batch, dataclasses.replace(SETTINGS, unlabelled_weight=weight)) for weight in (0.1, 0.5)
    }
    for head, found in enumerate(mixed.masks):
        own, half, middle = alone[0.1].masks[head], alone[0.5].masks[head], found.shape[-1] // 2
        assert found.shape == (2, K, *own.shape[1:])
        assert torch.equal(found[..., :middle], own[:, None, :, :middle].expand(-1, K, -1, -1))
        assert torch.equal(found[1, :, :, middle:], half[1, :, middle:].expand(K, -1, -1))
        assert (found[0, :12, :, middle:] == 1).all()
        assert (found[0, 12:, :, middle:] == 0).all()
        assert {weight in own for weight in (0.1, 1.0)} == {True}


def test_where_a_joint_is_not_labelled_nothing_is_learnt_of_it(batch: Batch) -> None:
    """Neither that it is there nor that it is not, by labels or by a teacher; the other joints' loss is the same."""
    limbs = Labelling((True,) * 12 + (False,) * 2, 1.0)
    sources = torch.ones(2, 32, 32, dtype=torch.uint8)
    gradients = []
    for seen in (batch, dataclasses.replace(batch, sources=sources, labellings=(limbs,))):
        heads, teacher = random_heads(0), random_heads(1)
        targets = make_targets(seen, SETTINGS)
        pose_loss(heads, targets, SETTINGS, progress=0.5, teacher=(teacher[0].detach(), teacher[1].detach()))[
            0
        ].backward()
        gradients.append([head.grad for head in heads])
    for plain, masked in zip(*gradients, strict=True):
        assert plain is not None
        assert masked is not None
        assert torch.equal(plain[:, :12], masked[:, :12])
        assert plain[:, 12:K].any()
        assert not masked[:, 12:K].any()
        assert torch.equal(plain[:, K:], masked[:, K:])


def test_without_anybody_nothing_is_near() -> None:
    weights = label_weights(torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 3, 3), input_size=16, unlabelled=0.5)
    assert torch.equal(weights, torch.full((2, 8, 8), 0.5))


@pytest.mark.parametrize(("with_teacher", "progress"), [(False, 0.0), (True, 0.4), (True, 1.0)])
def test_the_loss_is_what_its_settings_say(batch: Batch, targets: Targets, with_teacher: bool, progress: float) -> None:
    """The guide falls linearly to its final fraction; masks have the size of their head."""
    assert torch.equal(targets.masks[1], batch.mask)
    assert torch.equal(targets.masks[0], batch.mask[:, ::2, ::2])
    heads, teacher = random_heads(0), random_heads(1)

    def heatmaps_against(wanted: tuple[Tensor, Tensor]) -> Tensor:
        first = heatmap_loss(heads[0][:, :K], wanted[0], targets.masks[0], foreground_weight=5.0)
        second = heatmap_loss(heads[1], wanted[1], targets.masks[1], foreground_weight=5.0)
        return first.mean() + 4 * second.mean()

    tags = heads[0][:, K:]
    push, pull = tag_loss(tags, targets.keypoints)
    guide = tag_guide_loss(tags, targets.keypoints)
    label = heatmaps_against(targets.heatmaps)
    soft = heatmaps_against((teacher[0][:, :K], teacher[1]))
    mixed = 0.7 * label + 0.3 * soft if with_teacher else label
    expected = mixed + 0.002 * (push + pull) + 0.02 * (1 - 0.75 * progress) * guide
    found, parts = pose_loss(heads, targets, SETTINGS, progress=progress, teacher=teacher if with_teacher else None)
    torch.testing.assert_close(found, expected)
    named = {"heatmap": label, "push": push, "pull": pull, "guide": guide}
    named |= {"distillation": soft} if with_teacher else {}
    assert parts.keys() == named.keys()
    for name, value in parts.items():
        torch.testing.assert_close(value, named[name].detach())
        assert not value.requires_grad


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


def test_targets_beyond_the_range_of_labels_weigh_as_its_nearest_end() -> None:
    """Regression: a teacher's response below -1 / foreground_weight had a negative weight, which rewarded distance."""
    target, mask = torch.tensor([-3.0, -0.3, -0.1, 0.5, 1.0, 4.0]).reshape(6, 1, 1, 1), torch.ones(6, 1, 1)
    for distance in (0.5, 1.0):
        loss = heatmap_loss(target + distance, target, mask, foreground_weight=5.0)
        expected = distance**2 * torch.tensor([1.0, 1.0, 1.0, 3.5, 6.0, 6.0])
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("seed", range(3))
def test_tag_losses_equal_plain_loops(seed: int) -> None:
    tags, keypoints = random_case(seed)
    push, pull = tag_loss(tags, keypoints)
    assert (float(push), float(pull)) == pytest.approx(plain_tag_loss(tags, keypoints), abs=1e-12)
    guides = []
    for image_tags, image_keypoints in zip(tags, keypoints, strict=True):
        people = people_of(image_tags, image_keypoints)
        errors = [(tag - 4 * (sum(xs) / len(xs) / 9 - 0.5)) ** 2 for values, xs in people for tag in values]
        guides.append(sum(errors) / max(len(errors), 1))
    assert guides[2] == 0, "nobody is there"
    assert float(tag_guide_loss(tags, keypoints, scale=4.0)) == pytest.approx(sum(guides) / 3, abs=1e-12)


@pytest.mark.parametrize("shape", [(2, 0, 3, 3), (2, 4, 3, 3)])
def test_without_people_everything_is_zero_and_finite(shape: tuple[int, ...]) -> None:
    tags = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    keypoints = torch.zeros(shape)
    losses = [*tag_loss(tags, keypoints), tag_guide_loss(tags, keypoints)]
    assert [loss.item() for loss in losses] == [0, 0, 0]
    sum(losses, start=torch.zeros(())).backward()
    assert tags.grad is not None
    assert tags.grad.count_nonzero() == 0
