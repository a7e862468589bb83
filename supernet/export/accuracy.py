"""The AP of an exported file under its runtime, beside that of the network it came from, on the same images."""

import dataclasses
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.evaluation.inference import evaluate_model
from litepose_ofa.supernet.evaluation.intervals import ap_difference, ap_interval
from litepose_ofa.supernet.evaluation.matching import Matches
from litepose_ofa.supernet.evaluation.people import InferenceSettings, PoseModel
from litepose_ofa.supernet.export.formats import ExportFormat
from litepose_ofa.supernet.export.runtime import SquarePredictor, as_model
from litepose_ofa.supernet.network.litepose import LitePose


@dataclass
class FormatEvaluator:
    """Measures exported files on a split; a file has one square input, so torch is measured with the same.

    Attributes:
        subnet: The network, in eval mode, on the CPU.
        dataset: The split.
        settings: How people are found; a file runs at scale 1 alone.
        batch_size: Images a batch.
        resamples: Of the images, for the intervals; 0 for none.
        seed: Of the draws.
        threads: CPU threads of a runtime.
    """

    subnet: LitePose
    dataset: KeypointDataset
    settings: InferenceSettings
    batch_size: int
    resamples: int
    seed: int = 0
    threads: int = 1

    def measure(self, fmt: ExportFormat, folder: Path) -> dict[str, Any]:
        """Return AP in [0, 1], AP of torch, and what the file's is above it, with intervals where there are draws.

        The difference is paired: both see the same draws of images.
        """
        ours = self._matches(as_model(fmt.open(folder, threads=self.threads), self.subnet.arch.image_size))
        theirs = self._of_torch
        ap, torch_ap = ours.average_precision(), theirs.average_precision()
        record: dict[str, Any] = {"AP": ap, "torch_AP": torch_ap, "difference": ap - torch_ap}
        if self.resamples:
            draws = {"resamples": self.resamples, "seed": self.seed}
            record["interval"] = asdict(ap_interval(ours, **draws))
            record["difference_interval"] = asdict(ap_difference(ours, theirs, **draws))
        return record

    @cached_property
    def _of_torch(self) -> Matches:
        return self._matches(self.subnet)

    def _matches(self, model: PoseModel) -> Matches:
        result = evaluate_model(
            model,
            self.dataset,
            image_size=self.subnet.arch.image_size,
            settings=dataclasses.replace(self.settings, scales=(1.0,)),
            batch_size=self.batch_size,
            predictor=SquarePredictor,
        )
        return result.comparison.matches
