"""Losses of the two heads: heatmaps, associative-embedding (AE) tags.

Legend: B batch, P people, K keypoints, H/W map. Keypoints are x, y in heatmap pixels and visibility; a joint counts if
its visibility is above 0 and it lies inside the map. Sources: Wang et al., Lite Pose (arXiv:2205.01271); Newell et al.,
Associative Embedding (arXiv:1611.05424).
"""

import torch
from torch import Tensor


def heatmap_loss(prediction: Tensor, target: Tensor, mask: Tensor, *, foreground_weight: float = 0.0) -> Tensor:
    """Return the masked squared error of each image, the mean over all elements.

    Args:
        prediction: Heatmaps, shape (B, K, H, W).
        target: Target heatmaps in [0, 1], same shape.
        mask: 0 where people are not labelled (crowds), else 1, shape (B, H, W).
        foreground_weight: Weight added to an element in proportion to its target; 0 in LitePose. Small maps are nearly
            all background, and a short training would stop at predicting that.

    Returns:
        Loss of each image, shape (B,).
    """
    weight = mask[:, None] * (1 + foreground_weight * target) if foreground_weight else mask[:, None]
    return ((prediction - target) ** 2 * weight).mean(dim=(1, 2, 3))


def tag_loss(tags: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Return the AE losses: ``push`` keeps the tags of different people apart, ``pull`` those of one person together.

    An image's pull is the mean over people of the mean over their joints of (tag - person's mean)^2; its push is half
    the mean over ordered pairs of people of exp(-(difference of means)^2), 0 with fewer than two people.

    Args:
        tags: AE tags, shape (B, K, H, W).
        keypoints: x, y, visibility in heatmap pixels, shape (B, P, K, 3). A person without joints counts as absent.

    Returns:
        Push and pull, scalars, means over the images.
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
    gradient. A target that is different for people in different places breaks the symmetry.

    Args:
        tags: AE tags, shape (B, K, H, W).
        keypoints: x, y, visibility in heatmap pixels, shape (B, P, K, 3).
        scale: Difference of the target between the right and the left edge of the map.

    Returns:
        Mean over the images of the mean over their visible joints of (tag - scale x (person's mean x / W - 0.5))^2, a
        scalar; an image without joints counts as 0.
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
