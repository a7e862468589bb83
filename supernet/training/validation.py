"""Accuracies in the middle of a training: a few subnets, batch norm recalibrated, each measured by one rank."""

from collections.abc import Mapping
from dataclasses import dataclass

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.evaluation.subnets import Calibration, NetworkEvaluator
from litepose_ofa.supernet.network.extract import copy_of
from litepose_ofa.supernet.network.litepose import PoseNetwork
from litepose_ofa.supernet.training.distributed import Process, gather_objects


def validated_archs(space: SearchSpace) -> dict[str, Arch]:
    """Return what is worth watching in a space: the smallest, the largest, and the published networks in it."""
    published = {name: arch for name, arch in published_archs().items() if space.contains(arch)}
    return {"smallest": space.smallest(), "largest": space.largest(), **published}


@dataclass
class Validator:
    """Measures the AP of subnets of a supernet, or of the one network there is; ranks share the subnets out."""

    archs: Mapping[str, Arch]
    calibration: Calibration
    evaluator: NetworkEvaluator
    process: Process

    def __call__(self, model: PoseNetwork) -> dict[str, float]:
        """Return AP in [0, 1] by name, the same on every rank."""
        mine = list(self.archs.items())[self.process.rank :: self.process.world]
        measured = {name: self._measure(model, arch) for name, arch in mine}
        merged = {name: ap for part in gather_objects(measured, self.process) for name, ap in part.items()}
        return {name: merged[name] for name in self.archs}

    def _measure(self, model: PoseNetwork, arch: Arch) -> float:
        return self.evaluator.evaluate_prepared(self.calibration.apply(copy_of(model, arch))).metrics["AP"]
