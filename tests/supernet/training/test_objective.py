"""The objective against its definition, re-computed from the plain losses."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training.losses import heatmap_loss, tag_guide_loss, tag_loss
from litepose_ofa.supernet.training.objective import LossSettings, Targets, make_targets, pose_loss

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


def test_with_a_sigma_size_the_gaussians_grow_with_the_input() -> None:
    settings = LossSettings(sigmas=(1.0, 2.0), sigma_size=64)
    widths = []
    for size in (64, 128):
        keypoints = torch.tensor([[[[size / 2 + 1, size / 2 + 1, 2.0]]]])
        batch = Batch(torch.zeros(1, 3, size, size), keypoints, torch.ones(1, size // 2, size // 2), (1,), ())
        heatmaps = make_targets(batch, settings).heatmaps[1][0, 0].double()
        places = torch.arange(size // 2) + 0.5
        row = heatmaps.sum(dim=0) / heatmaps.sum()
        mean = (row * places).sum()
        widths.append(((places - mean) ** 2 * row).sum().sqrt().item())
    assert widths == pytest.approx([2.0, 4.0], rel=0.05)


def test_targets_are_made_from_coordinates_at_each_resolution() -> None:
    """Regression: the public targets rescale joint indices by a constant, so they are right at one size only."""
    settings = LossSettings(sigmas=(1.0, 3.0))
    for size in (64, 96, 160):
        keypoints = torch.zeros(1, 2, 3, 3)
        keypoints[0, 0, 1] = torch.tensor([0.4 * size, 0.7 * size, 2.0])
        keypoints[0, 1, 2] = torch.tensor([0.9 * size, 0.2 * size, 1.0])
        batch = Batch(torch.zeros(1, 3, size, size), keypoints, torch.ones(1, size // 2, size // 2), (1,), ())
        made = make_targets(batch, settings)
        for heatmaps, stride, sigma in zip(made.heatmaps, (4, 2), settings.sigmas, strict=True):
            assert heatmaps.shape == (1, 3, size // stride, size // stride)
            assert heatmaps[0, 0].max() == 0
            for joint, (fraction_x, fraction_y) in ((1, (0.4, 0.7)), (2, (0.9, 0.2))):
                x, y = fraction_x * size / stride, fraction_y * size / stride
                distance = (int(x) + 0.5 - x) ** 2 + (int(y) + 0.5 - y) ** 2
                peak = torch.tensor(-distance / (2 * sigma**2)).exp()
                assert heatmaps[0, joint, int(y), int(x)] == heatmaps[0, joint].max()
                torch.testing.assert_close(heatmaps[0, joint].max(), peak, atol=1e-5, rtol=0)
        torch.testing.assert_close(made.keypoints[0, 0, 1], torch.tensor([0.1 * size, 0.175 * size, 2.0]))
        torch.testing.assert_close(made.keypoints[0, 1, 2], torch.tensor([0.225 * size, 0.05 * size, 1.0]))


def test_masks_have_the_size_of_their_head(batch: Batch, targets: Targets) -> None:
    assert torch.equal(targets.masks[1], batch.mask)
    assert targets.masks[0].shape == (2, 16, 16)
    assert targets.masks[0][1, :6, :10].count_nonzero() == 0
    assert targets.masks[0].sum() == 2 * 16 * 16 - 60


@pytest.mark.parametrize("with_teacher", [False, True])
def test_the_loss_is_what_its_settings_say(targets: Targets, with_teacher: bool) -> None:
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
    expected = mixed + 0.002 * (push + pull) + 0.02 * guide
    found, parts = pose_loss(heads, targets, SETTINGS, progress=0.0, teacher=teacher if with_teacher else None)
    torch.testing.assert_close(found, expected)
    named = {"heatmap": label, "push": push, "pull": pull, "guide": guide}
    named |= {"distillation": soft} if with_teacher else {}
    assert parts.keys() == named.keys()
    for name, value in parts.items():
        torch.testing.assert_close(value, named[name].detach())
        assert not value.requires_grad


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_the_guide_falls_linearly_to_its_final_fraction(targets: Targets, progress: float) -> None:
    heads = random_heads(0)
    unguided = dataclasses.replace(SETTINGS, guide_weight=0.0)
    guided, parts = pose_loss(heads, targets, SETTINGS, progress=progress)
    plain, _ = pose_loss(heads, targets, unguided, progress=progress)
    share = 1.0 + progress * (0.25 - 1.0)
    torch.testing.assert_close(guided - plain, 0.02 * share * parts["guide"], atol=1e-5, rtol=1e-4)
