"""From the composed config to the formats of an export, and to what the manifest says of their accuracy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.export.formats import ExportFormat, FloatArray
from litepose_ofa.supernet.export.litert import LitertFormat
from litepose_ofa.supernet.export.ncnn import NcnnFormat
from litepose_ofa.supernet.export.onnx_model import OnnxFormat
from litepose_ofa.supernet.export.peaks import OnnxPeaksFormat
from litepose_ofa.supernet.export.quantisation import OnnxInt8Format


def build_formats(cfg: DictConfig, evaluator: SubnetEvaluator, image_size: int) -> list[ExportFormat]:
    """Return the formats that ``formats`` names, in its order.

    Args:
        cfg: The composed config.
        evaluator: Has the training split, whose images int8 takes its ranges from, and says what a peak is.
        image_size: Side of the network's input in pixels.

    Raises:
        InputError: If a name or an option is unknown, a format is named twice, or its package is not installed.
    """
    onnx: dict[str, Any] = {"batch": cfg.onnx.batch, "opset": cfg.onnx.opset}
    peaks: dict[str, Any] = {"most": evaluator.settings.max_people, "threshold": evaluator.settings.threshold}
    training = evaluator.calibration.dataset
    makers: Mapping[str, Callable[[], ExportFormat]] = {
        OnnxFormat.name: lambda: OnnxFormat(**onnx),
        OnnxInt8Format.name: lambda: OnnxInt8Format(_calibration_images(cfg, training, image_size)),
        OnnxPeaksFormat.name: lambda: OnnxPeaksFormat(**onnx, **peaks),
        "litert": lambda: LitertFormat(),
        "litert_fp16": lambda: LitertFormat("float16"),
        "ncnn": lambda: NcnnFormat(),
        "ncnn_fp16": lambda: NcnnFormat("float16"),
    }
    names = cfg.formats
    allowed = f"a list of different names of {', '.join(makers)}"
    require(isinstance(names, ListConfig) and len(set(names)) == len(names), "formats", names, allowed)
    for name in names:
        require(name in makers, "formats", name, f"of {', '.join(makers)}")
    return [makers[name]() for name in names]


def _calibration_images(cfg: DictConfig, training: KeypointDataset, image_size: int) -> FloatArray:
    """Return training images, drawn by the seed, as the network's input, shape (N, 3, R, R)."""
    calibration = Calibration(training, num_images=cfg.calibration_images, batch_size=1, seed=cfg.seed)
    return np.concatenate([image.numpy() for image in calibration.batches(image_size)])
