"""The objective of training: targets made once a batch, the losses of both heads, and that of a subnet against targets.

Legend: B batch, P people, K keypoints, H/W map. Heatmaps and associative-embedding (AE) tags are (B, K, H, W), masks
(B, H, W): 0 where people are not labelled (crowds), else 1, or less away from labelled people; (B, K, H, W) where a
dataset of several does not label all joints. Keypoints (B, P, K, 3) are x, y in heatmap pixels and visibility; a joint
counts if its visibility is above 0 and it lies inside the map.
Sources: Wang et al., Lite Pose (arXiv:2205.01271); Newell et al., Associative Embedding (arXiv:1611.05424).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from litepose_ofa.supernet.codec.heatmap import make_heatmaps, to_heatmap_pixels
from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network.litepose import Heads
from litepose_ofa.supernet.validation import Fraction, NonNegative, Positive, Whole, settings

Pair = tuple[Tensor, Tensor]
"""One tensor of head 0 and one of head 1."""

MARGIN = 0.2
"""What the box of a person's joints grows by on every side, over its longer side: head, hands, feet and some room."""


@settings
class LossSettings:
    """Weights of the loss; the defaults are LitePose's.

    ``sigmas`` are the target Gaussians' standard deviations in head 0 and head 1, in their own pixels, at input size
    ``sigma_size``; at others they grow in proportion, so that a joint weighs the same at every resolution. With size 0
    they are the same at every size, as in LitePose.
    """

    sigmas: tuple[Positive, Positive] = (2.0, 2.0)
    sigma_size: Whole = 0
    head_weights: tuple[NonNegative, NonNegative] = (1.0, 1.0)  # of the two heads' heatmap losses
    foreground_weight: NonNegative = 0.0  # extra weight of a heatmap element in proportion to its target
    tag_weight: NonNegative = 0.001  # of push + pull
    guide_weight: NonNegative = 0.0  # of the tag guide at the first step, see ``tag_guide_loss``
    guide_final: Fraction = 0.25  # of ``guide_weight`` left at the last step; linear in between
    unlabelled_weight: Fraction = 1.0  # of a heatmap element away from labelled people, see ``label_weights``
    distillation_weight: Fraction = 0.5  # share of the teacher in the heatmap loss of a subnet that has one


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of a batch at its own resolution."""

    heatmaps: Pair
    masks: Pair
    keypoints: Tensor  # in pixels of head 0


def make_targets(batch: Batch, loss: LossSettings) -> Targets:
    """Make both heads' targets from coordinates, on the batch's device."""
    size = batch.images.shape[-1]
    scale = size / loss.sigma_size if loss.sigma_size else 1.0
    head0, head1 = (
        make_heatmaps(batch.keypoints, input_size=size, heatmap_size=size // stride, sigma=scale * sigma)
        for stride, sigma in zip((4, 2), loss.sigmas, strict=True)
    )
    keypoints = to_heatmap_pixels(batch.keypoints, input_size=size, heatmap_size=size // 4)
    masks = tuple(_mask(batch, loss, heatmaps, stride=stride) for heatmaps, stride in ((head0, 2), (head1, 1)))
    return Targets((head0, head1), (masks[0], masks[1]), keypoints)


def _mask(batch: Batch, loss: LossSettings, heatmaps: Tensor, *, stride: int) -> Tensor:
    """Return the mask of a head whose pixels are ``stride`` of the batch's mask, and whose targets are ``heatmaps``."""
    mask = batch.mask[:, ::stride, ::stride]
    shown = [
        (labelling, batch.sources[:, ::stride, ::stride] == source)
        for source, labelling in enumerate(batch.labellings, 1)
        if batch.sources is not None
    ]
    if any(weight < 1 for weight in (loss.unlabelled_weight, *(each.unlabelled_weight for each in batch.labellings))):
        unlabelled = torch.full_like(mask, loss.unlabelled_weight)
        for labelling, where in shown:
            unlabelled.masked_fill_(where, labelling.unlabelled_weight)
        size = batch.images.shape[-1]
        mask = mask * label_weights(heatmaps, batch.keypoints, input_size=size, unlabelled=unlabelled)
    if not all(all(labelling.joints) for labelling in batch.labellings):
        joints = torch.ones_like(heatmaps)
        for labelling, where in shown:
            for joint in (joint for joint, is_labelled in enumerate(labelling.joints) if not is_labelled):
                joints[:, joint].masked_fill_(where, 0)
        mask = mask[:, None] * joints
    return mask


def label_weights(heatmaps: Tensor, keypoints: Tensor, *, input_size: int, unlabelled: float | Tensor) -> Tensor:
    """Return the weights of a head's pixels: 1 near labelled people, ``unlabelled`` elsewhere, shape (B, H, W).

    Near are pixels where a target is above 0, and those whose middle is in the box of a person's joints, grown on every
    side by ``MARGIN`` times its longer side.

    Args:
        heatmaps: The head's targets.
        keypoints: In input pixels.
        input_size: Of the network.
        unlabelled: In [0, 1]: one for all pixels, or each one's, shape (B, H, W).
    """
    side = heatmaps.shape[-1]
    points = to_heatmap_pixels(keypoints, input_size=input_size, heatmap_size=side)
    labelled = points[..., 2:] > 0
    low = torch.where(labelled, points[..., :2], torch.inf).amin(dim=2)
    high = torch.where(labelled, points[..., :2], -torch.inf).amax(dim=2)
    margin = MARGIN * (high - low).amax(dim=-1, keepdim=True)  # -inf without joints: the box is empty
    middles = torch.arange(side, device=points.device)[:, None, None, None] + 0.5
    within = ((middles >= low - margin) & (middles <= high + margin)).to(points.dtype)  # (side, B, P, 2)
    boxes = torch.einsum("hbp,wbp->bhw", within[..., 1], within[..., 0])
    near = (boxes > 0) | (heatmaps.amax(dim=1) > 0)
    return torch.where(near, 1.0, unlabelled)


def pose_loss(
    heads: Heads, targets: Targets, loss: LossSettings, *, progress: float, teacher: Heads | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one subnet and its detached parts.

    ``progress`` is the fraction of the training that is done, in [0, 1]; ``teacher`` the outputs of the teacher for the
    same images, without a graph. Tags are only defined up to grouping, so a teacher distils heatmaps alone.
    """
    num_keypoints = heads[1].shape[1]
    heatmaps, tags = (heads[0][:, :num_keypoints], heads[1]), heads[0][:, num_keypoints:]
    total = _heatmap_loss(heatmaps, targets.heatmaps, targets.masks, loss)
    push, pull = tag_loss(tags, targets.keypoints)
    parts = {"heatmap": total, "push": push, "pull": pull}
    if teacher is not None:
        parts["distillation"] = _heatmap_loss(
            heatmaps, (teacher[0][:, :num_keypoints], teacher[1]), targets.masks, loss
        )
        total = torch.lerp(total, parts["distillation"], loss.distillation_weight)
    total = total + loss.tag_weight * (push + pull)
    if loss.guide_weight:
        parts["guide"] = tag_guide_loss(tags, targets.keypoints)
        total = total + loss.guide_weight * (1 - (1 - loss.guide_final) * progress) * parts["guide"]
    return total, {name: value.detach() for name, value in parts.items()}


def _heatmap_loss(heatmaps: Pair, wanted: Pair, masks: Pair, loss: LossSettings) -> Tensor:
    first, second = (
        weight * heatmap_loss(made, target, mask, foreground_weight=loss.foreground_weight).mean()
        for weight, made, target, mask in zip(loss.head_weights, heatmaps, wanted, masks, strict=True)
    )
    return first + second


def heatmap_loss(prediction: Tensor, target: Tensor, mask: Tensor, *, foreground_weight: float = 0.0) -> Tensor:
    """Return the masked squared error of each image, the mean over all elements, shape (B,).

    ``foreground_weight`` is added to an element's weight in proportion to its target; 0 in LitePose. Small maps are
    nearly all background, and a short training would stop at predicting that. A teacher's heatmaps leave [0, 1], the
    range of labels: they weigh as its nearest end, so that no weight is negative and none above that of a peak.
    """
    weight = mask[:, None] if mask.ndim == 3 else mask
    if foreground_weight:
        weight = weight * (1 + foreground_weight * target.clamp(0, 1))
    return ((prediction - target) ** 2 * weight).mean(dim=(1, 2, 3))


def tag_loss(tags: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Return the AE losses: ``push`` keeps the tags of different people apart, ``pull`` those of one person together.

    An image's pull is the mean over people of the mean over their joints of (tag - person's mean)^2; its push is half
    the mean over ordered pairs of people of exp(-(difference of means)^2), 0 with fewer than two people. A person
    without joints counts as absent. Both are scalars, means over the images.
    """
    joint_tags, visible = _tags_at(tags, keypoints)
    joints = visible.sum(dim=2)
    present = (joints > 0).to(tags.dtype)
    means = (joint_tags * visible).sum(dim=2) / joints.clamp(min=1)
    spread = ((joint_tags - means[..., None]) ** 2 * visible).sum(dim=2) / joints.clamp(min=1)
    people = present.sum(dim=1)
    pull = (spread * present).sum(dim=1) / people.clamp(min=1)

    closeness = torch.exp(-((means[:, :, None] - means[:, None, :]) ** 2))
    different = 1 - torch.eye(means.shape[1], dtype=tags.dtype, device=tags.device)
    pairs = present[:, :, None] * present[:, None, :] * different
    push = 0.5 * (closeness * pairs).sum(dim=(1, 2)) / (people * (people - 1)).clamp(min=1)
    return push.mean(), pull.mean()


def tag_guide_loss(tags: Tensor, keypoints: Tensor, scale: float = 8.0) -> Tensor:
    """Return how far tags are from a target that grows with the person's horizontal place in the image.

    Not in LitePose. In a short training the tags collapse: pull makes all of them equal, and at equal means push has no
    gradient. A target that is different for people in different places breaks the symmetry. The result, a scalar, is
    the mean over the images of the mean over their joints of (tag - scale x (person's mean x / W - 0.5))^2, 0 if none.
    """
    joint_tags, visible = _tags_at(tags, keypoints)
    mean_x = (keypoints[..., 0] * visible).sum(dim=2) / visible.sum(dim=2).clamp(min=1)
    target = scale * (mean_x / tags.shape[3] - 0.5)
    squared = (joint_tags - target[..., None]) ** 2 * visible
    return (squared.sum(dim=(1, 2)) / visible.sum(dim=(1, 2)).clamp(min=1)).mean()


def _tags_at(tags: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tags under the joints and 1 for every joint that counts, both of shape (B, P, K)."""
    batch, num_keypoints, height, width = tags.shape
    x, y, visibility = keypoints.unbind(dim=-1)
    visible = (visibility > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = torch.where(visible, y.floor() * width + x.floor(), 0).long()
    by_joint = index.transpose(1, 2)
    gathered = tags.reshape(batch, num_keypoints, height * width).gather(2, by_joint)
    return gathered.transpose(1, 2), visible.to(tags.dtype)
