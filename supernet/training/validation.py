"""Accuracies in the middle of a training: a few subnets, batch norm recalibrated, each measured by one rank."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.evaluation import InferenceSettings, evaluate_model
from litepose_ofa.supernet.evaluation.keypoint_ap import require_comparable
from litepose_ofa.supernet.evaluation.subnets import Calibration
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose, PoseNetwork
from litepose_ofa.supernet.training.distributed import Process, gather_objects


def validated_archs(space: SearchSpace) -> dict[str, Arch]:
    """Return what is worth watching in a space: the smallest, the largest, and the published networks in it."""
    published = {name: arch for name, arch in published_archs().items() if space.contains(arch)}
    return {"smallest": space.smallest(), "largest": space.largest(), **published}


@dataclass
class Validator:
    """Measures the AP of subnets of a supernet, or of the one network there is; ranks share the subnets out.

    Raises:
        InputError: If an AP on these images would mean nothing.
    """

    archs: Mapping[str, Arch]
    calibration: Calibration
    dataset: KeypointDataset
    settings: InferenceSettings
    batch_size: int
    process: Process

    def __post_init__(self) -> None:
        require_comparable(self.dataset)

    def __call__(self, model: PoseNetwork) -> dict[str, float]:
        """Return AP in [0, 1] by name, the same on every rank."""
        mine = list(self.archs.items())[self.process.rank :: self.process.world]
        measured = {name: self._measure(model, arch) for name, arch in mine}
        merged = {name: ap for part in gather_objects(measured, self.process) for name, ap in part.items()}
        return {name: merged[name] for name in self.archs}

    def _measure(self, model: PoseNetwork, arch: Arch) -> float:
        network = self.calibration.apply(copy_of(model, arch))
        result = evaluate_model(
            network,
            self.dataset,
            image_size=arch.image_size,
            settings=self.settings,
            batch_size=self.batch_size,
            device=self.process.device,
        )
        return result.metrics["AP"]


def copy_of(model: PoseNetwork, arch: Arch) -> LitePose:
    """Return a static network of a subnet's weights, or of the network's own, that shares nothing with it."""
    if isinstance(model, LitePoseSupernet):
        return extract_subnet(model, arch)
    assert isinstance(model, LitePose)
    return copy.deepcopy(model)
