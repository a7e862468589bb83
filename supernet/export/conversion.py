"""ONNX models of networks as other files: int8 ONNX by static quantisation, and ncnn's two files by pnnx.

In int8, weights are symmetric, with a scale for every output channel, for a depthwise channel's folded kernel may be
many times another's. Feature maps are uint8 with a zero point, their ranges the extremes on calibration images. The
heads stay float32: they are a small part of the work, and one scale for heatmaps and AE tags would leave heatmaps a few
dozen levels.
"""

import logging
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime import quantization

from litepose_ofa.supernet.export.onnx_graph import INPUT_NAME, OUTPUT_NAMES
from litepose_ofa.supernet.export.runners import FloatArray, import_optional

HEAD_PREFIX = "final_"
"""How the names of the heads' nodes begin."""

TIMEOUT_S = 300.0
"""Longest that pnnx may take; LitePose-L takes seconds."""


def quantise(model: onnx.ModelProto, calibration: FloatArray) -> onnx.ModelProto:
    """Return a model of ``build_onnx`` with QuantizeLinear and DequantizeLinear pairs around all but the heads.

    Equal models and calibration images give equal models on one machine. ONNX Runtime's preprocessing would fold and
    simplify, which the model is; shapes are inferred here.

    Args:
        model: The float32 model, of batch 1.
        calibration: Normalised images, shape (N, 3, R, R), float32, of the model's input size R.
    """
    heads = [node.name for node in model.graph.node if node.name.startswith(HEAD_PREFIX) or node.name in OUTPUT_NAMES]
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the advice to preprocess
    try:
        with TemporaryDirectory() as folder:
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
    finally:
        logging.disable(level)


class _Images(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands the images (N, 3, R, R) to ONNX Runtime one by one."""

    def __init__(self, images: FloatArray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, FloatArray] | None:
        """Return the next image, shape (1, 3, R, R), by the input's name; None after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image[None]}


def convert_to_ncnn(model: onnx.ModelProto, *, float16: bool = False) -> tuple[bytes, bytes]:
    """Convert an ONNX model with pnnx; inputs become ``in0``, ``in1``, outputs ``out0``, ``out1``, without the batch.

    From the ONNX graph pnnx makes the same ncnn layers as from the traced torch module, in a fifth of the time.

    Args:
        model: Fixed shapes, batch 1, weights inside.
        float16: Whether weights are stored in half precision.

    Returns:
        The contents of the ``.param`` and the ``.bin`` file.

    Raises:
        RuntimeError: If pnnx does not know what to do with the model, or takes longer than ``TIMEOUT_S``.
    """
    command = [str(import_optional("pnnx", "ncnn", "ncnn").EXEC_PATH), "model.onnx", f"fp16={int(float16)}"]
    with TemporaryDirectory() as name:  # pnnx leaves nine files beside its input
        folder = Path(name)
        onnx.save(model, folder / "model.onnx")
        try:
            answer = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"pnnx has not converted {model.graph.name} in {TIMEOUT_S:g} s") from None
        param, weights = folder / "model.ncnn.param", folder / "model.ncnn.bin"
        if answer.returncode or not (param.is_file() and weights.is_file()):
            raise RuntimeError(f"pnnx cannot convert {model.graph.name}: {answer.stdout}{answer.stderr}")
        return param.read_bytes(), weights.read_bytes()
