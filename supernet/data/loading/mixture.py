"""Further datasets in a training, beside its own: which part of an epoch is theirs, and what they label.

Legend: K keypoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.doubts import DOUBTS_OF_TRAINING, require_meaningful
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, require


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a dataset labels.

    Attributes:
        joints: Whether it labels each of the K keypoints at all; where it does not, the heatmap loss does not count.
        unlabelled_weight: Of heatmap elements away from labelled people, as in ``LossSettings``.
    """

    joints: tuple[bool, ...]
    unlabelled_weight: float


@dataclass(frozen=True)
class Member:
    """A further dataset: all its images, those without people too.

    Attributes:
        name: What messages call it.
        dataset: Its images, with the keypoints of the training's own dataset.
        share: Of an epoch's samples, in [0, 1).
        labelling: What it labels.
    """

    name: str
    dataset: KeypointDataset
    share: float
    labelling: Labelling

    @classmethod
    def of(
        cls, name: str, dataset: KeypointDataset, skeleton: Skeleton, *, share: float, unlabelled_weight: float = 1.0
    ) -> Self:
        """Take a dataset of any skeleton; keypoints are the same if they have the same name.

        A keypoint whose mirror image the dataset does not label counts as not labelled either.

        Raises:
            InputError: If no keypoint is the same, or half of the people are nowhere that anybody can have meant.
        """
        require_meaningful(dataset.records, dataset.annotations_path, DOUBTS_OF_TRAINING)
        known = [keypoint in dataset.skeleton.keypoints for keypoint in skeleton.keypoints]
        joints = tuple(own and known[other] for own, other in zip(known, skeleton.flip_indices, strict=True))
        if not any(joints):
            raise InputError(f"its skeleton {dataset.skeleton.name} has no keypoint of {skeleton.name}'s")
        if skeleton.difference(dataset.skeleton) is not None:
            dataset = dataset.with_keypoints_of(skeleton, joints)
        return cls(name, dataset, share, Labelling(joints, unlabelled_weight))


def sample_counts(num_images: int, shares: Sequence[float]) -> list[int]:
    """Return the samples of further datasets in an epoch, the rest of which are a training's own ``num_images``.

    Raises:
        InputError: If the shares leave nothing.
    """
    whole = sum(shares)
    require(whole < 1, "training.mixture: the sum of shares", whole, "below 1; the rest is the training's own dataset")
    return [round(share / (1 - whole) * num_images) for share in shares]
