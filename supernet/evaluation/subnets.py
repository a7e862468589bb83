"""Measure networks on a split, and subnets of a trained supernet: extract, recalibrate BN, predict, AP."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import SampleRequest, TrainingImages, normalise
from litepose_ofa.supernet.evaluation.inference import EvaluationResult, evaluate_dataset
from litepose_ofa.supernet.evaluation.keypoint_ap import Engine, require_comparable
from litepose_ofa.supernet.evaluation.people import InferenceSettings, PeoplePredictor
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.checkpoints import weights_digest
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass
class Calibration:
    """The training images that BN statistics are averaged over, not augmented.

    Attributes:
        dataset: The training split.
        num_images: How many of it, drawn by the seed; lowered to what there is, in whole batches.
        batch_size: Images a batch.
        seed: Seed of the draw.
    """

    dataset: KeypointDataset
    num_images: int
    batch_size: int
    seed: int = 0
    _cache: dict[int, list[npt.NDArray[np.uint8]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        assert min(self.num_images, self.batch_size) >= 1  # the config's models say so
        available = min(self.num_images, len(self.dataset))
        self.batch_size = min(self.batch_size, available)
        self.num_images = available // self.batch_size * self.batch_size

    def batches(self, image_size: int) -> Iterator[Tensor]:
        """Yield the images at one resolution, each (B, 3, image_size, image_size); read once, kept as bytes."""
        if image_size not in self._cache:
            self._cache[image_size] = list(self._load(image_size))
        return map(normalise, self._cache[image_size])

    def apply(self, network: LitePose) -> LitePose:
        """Give a network batch-norm statistics of its own, at its own resolution, and put it into eval mode."""
        device = next(network.parameters()).device
        recalibrate_batch_norm(network, (images.to(device) for images in self.batches(network.arch.image_size)))
        return network

    def _load(self, image_size: int) -> Iterator[npt.NDArray[np.uint8]]:
        images = TrainingImages(self.dataset, augmentation=None)
        order = np.random.default_rng(self.seed).permutation(len(images))[: self.num_images]
        for indices in np.split(order, self.num_images // self.batch_size):
            yield np.stack([images[SampleRequest(int(index), image_size, 0)].image for index in indices])


class NetworkEvaluator:
    """Measures networks that are ready on one split.

    Raises:
        InputError: If an AP on this split would mean nothing, unless ``allow_people_free`` and nobody is annotated.
    """

    def __init__(
        self,
        dataset: KeypointDataset,
        *,
        settings: InferenceSettings,
        batch_size: int,
        allow_people_free: bool = False,
    ) -> None:
        if not (allow_people_free and dataset.is_people_free):
            require_comparable(dataset)
        self.dataset = dataset
        self.settings = settings
        self.batch_size = batch_size
        self._images = _content_digest(dataset)

    def identity_of(self, network: nn.Module, weights: str | None = None) -> dict[str, Any]:
        """Describe what an accuracy is measured on; on one machine equal identities give equal accuracies.

        ``weights`` is the digest of the network's weights, where it is known.
        """
        return {
            "weights": weights or weights_digest(network),
            "split": self.dataset.annotations_path.stem,
            "images": self._images,
            "num_images": len(self.dataset),
            "inference": json.loads(json.dumps(asdict(self.settings))),  # lists for tuples
            "device": next(network.parameters()).device.type,
        }

    def evaluate_prepared(self, network: LitePose, *, engine: Engine = "pycocotools") -> EvaluationResult:
        """Measure a network in eval mode, with BN statistics of its own, at its own resolution."""
        device = next(network.parameters()).device
        predictor = PeoplePredictor(network, network.arch.image_size, self.dataset.skeleton, self.settings, device)
        return evaluate_dataset(predictor, self.dataset, batch_size=self.batch_size, engine=engine)


class SubnetEvaluator(NetworkEvaluator):
    """Measures any subnet of one trained supernet, on its device, on one split; the rest is as for its base class."""

    def __init__(
        self,
        supernet: LitePoseSupernet,
        calibration: Calibration,
        dataset: KeypointDataset,
        *,
        settings: InferenceSettings,
        batch_size: int,
    ) -> None:
        super().__init__(dataset, settings=settings, batch_size=batch_size)
        self.supernet = supernet
        self.calibration = calibration
        self.space = supernet.space
        self.num_keypoints = supernet.num_keypoints
        self._weights = weights_digest(supernet)
        self._bn_images = _content_digest(calibration.dataset)

    @property
    def identity(self) -> dict[str, Any]:
        """Describe what accuracies of subnets are measured on, as ``identity_of``, with the BN recipe."""
        recipe = {name: getattr(self.calibration, name) for name in ("num_images", "batch_size", "seed")}
        return {**self.identity_of(self.supernet, self._weights), "bn": {"images": self._bn_images, **recipe}}

    def prepare(self, arch: Arch) -> LitePose:
        """Cut out a subnet with BN statistics of its own, in eval mode; ``ValueError`` if it is outside the space."""
        return self.calibration.apply(extract_subnet(self.supernet, arch))

    def measure(self, arch: Arch) -> float:
        """Return the AP of a subnet at its own resolution, in [0, 1]."""
        return self.evaluate_prepared(self.prepare(arch)).metrics["AP"]


def _content_digest(dataset: KeypointDataset) -> str:
    """First 12 hexadecimal digits of the SHA-256 of annotations, skeleton, and the images' ids and file sizes."""
    digest = hashlib.sha256(dataset.annotations_path.read_bytes())
    digest.update(repr((dataset.skeleton, dataset.on_bad_image)).encode())
    for record in dataset.records:
        size = record.path.stat().st_size if record.path.exists() else None
        digest.update(f"{record.id}:{size},".encode())
    return digest.hexdigest()[:12]
