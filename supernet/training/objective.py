"""The objective of training: targets made once a batch, and the loss of one subnet against them.

Legend: B batch, P people, K keypoints, H/W map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from litepose_ofa.supernet.codec.heatmap import make_heatmaps, to_heatmap_pixels
from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.training.losses import heatmap_loss, tag_guide_loss, tag_loss
from litepose_ofa.supernet.validation import Fraction, NonNegative, Positive, Whole, settings


@settings
class LossSettings:
    """Weights of the loss; the defaults are LitePose's.

    Attributes:
        sigmas: Standard deviation of the target Gaussians of head 0 and head 1, in their own pixels.
        sigma_size: Input size in pixels at which ``sigmas`` hold; at others they grow in proportion, so that a joint
            weighs the same at every resolution. 0: the same at every size, as in LitePose.
        head_weights: Weights of the two heads' heatmap losses.
        foreground_weight: Extra weight of a heatmap element in proportion to its target.
        tag_weight: Weight of push + pull.
        guide_weight: Weight of the tag guide at the first step (0: no guide; see ``tag_guide_loss``).
        guide_final: Fraction of ``guide_weight`` left at the last step; linear in between.
        distillation_weight: Share of the teacher in the heatmap loss of a subnet that has one, 0 to 1.
    """

    sigmas: tuple[Positive, Positive] = (2.0, 2.0)
    sigma_size: Whole = 0
    head_weights: tuple[NonNegative, NonNegative] = (1.0, 1.0)
    foreground_weight: NonNegative = 0.0
    tag_weight: NonNegative = 0.001
    guide_weight: NonNegative = 0.0
    guide_final: Fraction = 0.25
    distillation_weight: Fraction = 0.5


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of a batch at its own resolution.

    Attributes:
        heatmaps: (B, K, H, W) for head 0 and head 1.
        masks: (B, H, W) for head 0 and head 1, 1 where the loss counts.
        keypoints: (B, P, K, 3) in pixels of head 0: x, y, visibility.
    """

    heatmaps: tuple[Tensor, Tensor]
    masks: tuple[Tensor, Tensor]
    keypoints: Tensor


def make_targets(batch: Batch, loss: LossSettings) -> Targets:
    """Make both heads' targets from coordinates, on the batch's device."""
    size = batch.images.shape[-1]
    keypoints = batch.keypoints
    scale = size / loss.sigma_size if loss.sigma_size else 1.0
    heatmaps = [
        make_heatmaps(keypoints, input_size=size, heatmap_size=size // stride, sigma=scale * sigma)
        for stride, sigma in zip((4, 2), loss.sigmas, strict=True)
    ]
    return Targets(
        heatmaps=(heatmaps[0], heatmaps[1]),
        masks=(batch.mask[:, ::2, ::2], batch.mask),
        keypoints=to_heatmap_pixels(keypoints, input_size=size, heatmap_size=size // 4),
    )


def pose_loss(
    heads: Heads, targets: Targets, loss: LossSettings, *, progress: float, teacher: Heads | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one subnet and its detached parts.

    Tags are only defined up to grouping, so a teacher distils heatmaps alone.

    Args:
        heads: The subnet's outputs, (B, 2K, H/4, W/4) and (B, K, H/2, W/2).
        targets: The batch's targets.
        loss: Weights.
        progress: Fraction of the training that is done, in [0, 1].
        teacher: Outputs of the teacher for the same images, if any.
    """
    num_keypoints = heads[1].shape[1]
    heatmaps = (heads[0][:, :num_keypoints], heads[1])
    tags = heads[0][:, num_keypoints:]
    label = _heatmap_loss(heatmaps, targets.heatmaps, targets, loss)
    push, pull = tag_loss(tags, targets.keypoints)
    parts = {"heatmap": label, "push": push, "pull": pull}
    total = label
    if teacher is not None:
        soft = (teacher[0][:, :num_keypoints].detach(), teacher[1].detach())
        parts["distillation"] = _heatmap_loss(heatmaps, soft, targets, loss)
        total = torch.lerp(label, parts["distillation"], loss.distillation_weight)
    total = total + loss.tag_weight * (push + pull)
    if loss.guide_weight:
        parts["guide"] = tag_guide_loss(tags, targets.keypoints)
        total = total + loss.guide_weight * (1 - (1 - loss.guide_final) * progress) * parts["guide"]
    return total, {name: value.detach() for name, value in parts.items()}


def _heatmap_loss(
    heatmaps: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor], targets: Targets, loss: LossSettings
) -> Tensor:
    losses = [
        weight * heatmap_loss(made, target, mask, foreground_weight=loss.foreground_weight).mean()
        for weight, made, target, mask in zip(loss.head_weights, heatmaps, wanted, targets.masks, strict=True)
    ]
    return losses[0] + losses[1]
