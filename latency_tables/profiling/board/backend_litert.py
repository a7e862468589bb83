"""How the kit calls LiteRT (TensorFlow Lite): its CPU interpreter, with XNNPACK, float32."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import ai_edge_litert as litert
    from ai_edge_litert.interpreter import Interpreter

    NAME = "LiteRT"
except ImportError:  # its predecessor, with wheels for older boards
    import tflite_runtime as litert
    from tflite_runtime.interpreter import Interpreter

    NAME = "TensorFlow Lite"


class Model:
    """One model in an interpreter of its own, with fixed random inputs.

    The kit's shapes are (1, C, H, W); the files' own, channels-last, are the ones that count.
    """

    def __init__(self, paths: list[str], input_shapes: list[list[int]], threads: int) -> None:
        self._interpreter = Interpreter(model_path=paths[0], num_threads=threads)  # XNNPACK is its default
        self._interpreter.allocate_tensors()
        rng = np.random.RandomState(0)
        for tensor in self._interpreter.get_input_details():
            self._interpreter.set_tensor(tensor["index"], rng.standard_normal(tensor["shape"]).astype(np.float32))

    def run(self) -> None:
        """Run the model once."""
        self._interpreter.invoke()


def describe() -> dict[str, Any]:
    """Say what computes, and in which numbers."""
    return {"runtime": NAME, "runtime_version": litert.__version__, "precision": "float32", "provider": "XNNPACK"}


load = Model
