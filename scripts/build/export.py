"""From the composed config to the formats of an export, and to what the manifest says of their accuracy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.export.accuracy import FormatEvaluator
from litepose_ofa.supernet.export.formats import ExportFormat, FloatArray
from litepose_ofa.supernet.export.litert import LitertFormat
from litepose_ofa.supernet.export.ncnn import NcnnFormat
from litepose_ofa.supernet.export.onnx_formats import OnnxFormat, OnnxPeaksFormat
from litepose_ofa.supernet.export.quantisation import OnnxInt8Format
from litepose_ofa.supernet.export.runtime import PEAKS_FORMAT

INT8_FORMAT = "onnx_int8"


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
        "onnx": lambda: OnnxFormat(**onnx),
        INT8_FORMAT: lambda: OnnxInt8Format(_calibration_images(cfg, training, image_size)),
        PEAKS_FORMAT: lambda: OnnxPeaksFormat(**onnx, **peaks),
        "litert": lambda: LitertFormat(),
        "litert_fp16": lambda: LitertFormat(precision="float16"),
        "ncnn": lambda: NcnnFormat(),
        "ncnn_fp16": lambda: NcnnFormat(precision="float16"),
    }
    names = cfg.formats
    allowed = f"a list of different names of {', '.join(makers)}"
    require(isinstance(names, ListConfig) and len(set(names)) == len(names), "formats", names, allowed)
    for name in names:
        require(name in makers, "formats", name, f"of {', '.join(makers)}")
    return [makers[name]() for name in names]


def build_examination(cfg: DictConfig, evaluator: FormatEvaluator) -> Callable[[ExportFormat, Path], dict[str, Any]]:
    """Return what measures the AP of the formats that are to be measured; peaks are no heatmaps, and never are."""

    def examine(fmt: ExportFormat, folder: Path) -> dict[str, Any]:
        measured = fmt.name == INT8_FORMAT or (cfg.measure_formats and fmt.name != PEAKS_FORMAT)
        return {"accuracy": evaluator.measure(fmt, folder) if measured else None}

    return examine


def _calibration_images(cfg: DictConfig, training: KeypointDataset, image_size: int) -> FloatArray:
    """Return training images, drawn by the seed, as the network's input, shape (N, 3, R, R)."""
    count = cfg.calibration_images
    require(type(count) is int and count >= 1, "calibration_images", count, "an integer of at least 1")
    images = Calibration(training, num_images=count, batch_size=1, seed=cfg.seed).batches(image_size)
    return np.concatenate([image.numpy() for image in images])
