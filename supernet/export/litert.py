"""A subnet as a LiteRT (TensorFlow Lite) file, channels last, and the file under LiteRT's interpreter.

Legend: K keypoints, R input size in pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.formats import FloatArray, Heads
from litepose_ofa.supernet.export.onnx_model import build_onnx
from litepose_ofa.supernet.export.precision import Precision, name_of, tolerance_of
from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose

_NAMES = {"float32": "litert", "float16": "litert_fp16"}
_FILES = {"float32": "model.tflite", "float16": "model_fp16.tflite"}


class LitertFormat:
    """One ``.tflite`` file: input (1, R, R, 3), outputs (1, R / 4, R / 4, 2K) and (1, R / 2, R / 2, K).

    Args:
        precision: How weights are stored; LiteRT computes in float32 with either on a CPU without half precision.

    Raises:
        InputError: If LiteRT is not installed.

    Example:
        >>> fmt = LitertFormat(precision="float16")
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        ['model_fp16.tflite']
        >>> head0, head1 = fmt.open(folder)(images)  # doctest: +SKIP
    """

    def __init__(self, precision: Precision = "float32") -> None:
        self.name = _NAMES[precision]
        self.precision = precision
        self.relative = precision == "float16"
        self.tolerance: float | None = tolerance_of(precision)
        require_litert(f"format {self.name}")

    def write(self, folder: Path, subnet: LitePose) -> list[str]:
        """Write the flatbuffer of a network in eval mode.

        Raises:
            InputError: If a weight is beyond float16.
        """
        file = _FILES[self.precision]
        try:
            content = translate_to_tflite(build_onnx(subnet), precision=self.precision)
        except OverflowError as error:
            raise InputError(f"format {self.name}: {error}; use {_NAMES['float32']}") from None
        with replacing(folder / file) as temporary:
            temporary.write_bytes(content)
        return [file]

    def open(self, folder: Path, *, threads: int = 1) -> "LitertRunner":
        """Open the file in an interpreter.

        Raises:
            InputError: If it is missing or damaged.
        """
        return LitertRunner(folder / _FILES[self.precision], threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        import ai_edge_litert

        return {
            "batch": 1,
            "layout": "NHWC",
            "precision": name_of(self.precision),
            "runtime": "ai-edge-litert",
            "runtime_version": ai_edge_litert.__version__,
        }


class LitertRunner:
    """A network in LiteRT's interpreter on the CPU, with XNNPACK; takes and gives NCHW.

    Args:
        path: The ``.tflite`` file.
        threads: Threads of an operator.

    Raises:
        InputError: If the file is missing, damaged or no network of ``LitertFormat``, or LiteRT is not installed.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        require_litert(str(path))
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            self._interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path}: LiteRT cannot open it ({' '.join(str(error).split())[:160]})") from None
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 2:
            raise InputError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a pose network has 1 and 2")
        self._input, self._outputs = inputs[0]["index"], [output["index"] for output in outputs]

    def __call__(self, images: FloatArray) -> Heads:
        """Run one image, shape (1, 3, R, R), normalised; heads as ``LitePose`` has them."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        self._interpreter.invoke()
        head0, head1 = (
            np.ascontiguousarray(self._interpreter.get_tensor(output).transpose(0, 3, 1, 2)) for output in self._outputs
        )
        return head0, head1


def require_litert(needed_by: str) -> None:
    """Refuse to go on without LiteRT.

    Raises:
        InputError: If the package is not installed; the message names what needs it and the extra that brings it.
    """
    try:
        import ai_edge_litert  # noqa: F401
    except ImportError:
        message = f"{needed_by} needs the package ai-edge-litert; install it with pip install 'litepose-ofa[litert]'"
        raise InputError(message) from None
