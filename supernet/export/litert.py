"""A subnet as a LiteRT (TensorFlow Lite) file, channels last, and the file under LiteRT's interpreter.

Legend: K keypoints, R input size in pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.formats import (
    DeviceFormat,
    FloatArray,
    Heads,
    Precision,
    Runner,
    import_optional,
    require_file,
)
from litepose_ofa.supernet.export.onnx_model import build_onnx
from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose


class LitertFormat(DeviceFormat):
    """One ``.tflite`` file: input (1, R, R, 3), outputs (1, R / 4, R / 4, 2K) and (1, R / 2, R / 2, K).

    LiteRT computes in float32 with either precision on a CPU without half precision.

    Example:
        >>> fmt = LitertFormat("float16")
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        >>> head0, head1 = fmt.open(folder)(images)  # doctest: +SKIP
    """

    def __init__(self, precision: Precision = "float32") -> None:
        super().__init__(precision)
        self.name = f"litert{self.suffix}"
        self.files = (f"model{self.suffix}.tflite",)
        require_litert(f"format {self.name}")

    def write(self, folder: Path, subnet: LitePose) -> None:
        """Write the flatbuffer.

        Raises:
            InputError: If a weight is beyond float16.
        """
        try:
            content = translate_to_tflite(build_onnx(subnet), precision=self.precision)
        except OverflowError as error:
            raise InputError(f"format {self.name}: {error}; use litert") from None
        with replacing(folder / self.files[0]) as temporary:
            temporary.write_bytes(content)

    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        """Open the file in an interpreter."""
        return open_litert(folder / self.files[0], threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        version = import_optional("ai_edge_litert", self.name, "litert").__version__
        return {**super().describe(), "layout": "NHWC", "runtime": "ai-edge-litert", "runtime_version": version}


def open_litert(path: Path, *, threads: int = 1) -> Runner:
    """Open a ``.tflite`` file in LiteRT's interpreter on the CPU, with XNNPACK; it takes and gives NCHW.

    Raises:
        InputError: If the file is missing, damaged or no network of ``LitertFormat``, or LiteRT is not installed.
    """
    require_litert(str(path))
    from ai_edge_litert.interpreter import Interpreter

    require_file(path)
    try:
        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: LiteRT cannot open it ({' '.join(str(error).split())[:160]})") from None
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 2:
        raise InputError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; a pose network has 1 and 2")

    def run(images: FloatArray) -> Heads:
        interpreter.set_tensor(inputs[0]["index"], np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
        interpreter.invoke()
        heads = (interpreter.get_tensor(output["index"]).transpose(0, 3, 1, 2) for output in outputs)
        head0, head1 = map(np.ascontiguousarray, heads)
        return head0, head1

    return run


def require_litert(needed_by: str) -> None:
    """Refuse to go on without LiteRT, naming what needs it."""
    import_optional("ai_edge_litert", needed_by, "litert")
