"""A subnet as an int8 ONNX file: static quantisation, calibrated on training images.

Weights are int8, symmetric, with a scale for every output channel, for a depthwise channel's folded kernel may be many
times another's. Feature maps are uint8 with a zero point, their ranges the extremes on the calibration images. The
heads stay float32: they are a small part of the work, and one scale for heatmaps and AE tags would leave heatmaps a few
dozen levels.

Legend: N calibration images, R input size in pixels.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime import quantization

from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.export.formats import FloatArray
from litepose_ofa.supernet.export.onnx_model import INPUT_NAME, OUTPUT_NAMES, OnnxFormat, build_onnx, save_onnx
from litepose_ofa.supernet.network.litepose import LitePose

HEAD_PREFIX = "final_"
"""How the names of the heads' nodes begin."""


class OnnxInt8Format(OnnxFormat):
    """One ``.onnx`` file of QuantizeLinear and DequantizeLinear pairs, with inputs and outputs as ``OnnxFormat``'s.

    Equal weights and calibration images give equal bytes on one machine.

    Args:
        calibration: Normalised training images, shape (N, 3, R, R), R that of the networks to be written.

    Example:
        >>> OnnxInt8Format(images).write(folder, subnet)  # doctest: +SKIP
    """

    name = "onnx_int8"
    files = ("model_int8.onnx",)
    tolerance = None

    def __init__(self, calibration: FloatArray) -> None:
        super().__init__()
        self._calibration = calibration.astype(np.float32, copy=False)
        require(bool(np.isfinite(calibration).all()), "a value of the calibration images", "nan or inf", "finite")

    def write(self, folder: Path, subnet: LitePose) -> None:
        """Quantise a network in eval mode and write the file.

        Raises:
            InputError: If the calibration images are not of the network's input size.
        """
        shape, size = self._calibration.shape[1:], subnet.arch.image_size
        require(shape == (3, size, size), "the shape of a calibration image", shape, f"(3, {size}, {size})")
        save_onnx(folder / self.files[0], quantise(build_onnx(subnet), self._calibration))

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        scheme = {"weights": "int8 by output channel", "feature_maps": "uint8", "heads": "float32"}
        images = {"calibration": "minmax", "calibration_images": len(self._calibration)}
        return {**super().describe(), "precision": "int8", "quantisation": scheme | images}


def quantise(model: onnx.ModelProto, calibration: FloatArray) -> onnx.ModelProto:
    """Return a model of ``build_onnx`` with QuantizeLinear and DequantizeLinear pairs around all but the heads.

    ONNX Runtime's preprocessing would fold and simplify, which the model is; shapes are inferred here.

    Args:
        model: The float32 model, of batch 1.
        calibration: Normalised images, shape (N, 3, R, R), float32.
    """
    heads = [node.name for node in model.graph.node if node.name.startswith(HEAD_PREFIX) or node.name in OUTPUT_NAMES]
    with TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)  # a model in memory would be changed
        quantization.quantize_static(
            source,
            target,
            _Images(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "ConvTranspose", "Add", "Relu", "Clip"],
            nodes_to_exclude=heads,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True},
        )
        return onnx.load(target)


class _Images(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands the images (N, 3, R, R) to ONNX Runtime one by one."""

    def __init__(self, images: FloatArray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, FloatArray] | None:
        """Return the next image, shape (1, 3, R, R), by the input's name; None after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image[None]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice to preprocess off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
