"""How the kit calls ONNX Runtime: its CPU provider, float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime


class Model:
    """One model in a session of its own, with a fixed random input."""

    def __init__(self, paths: list[str], input_shapes: list[list[int]], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(paths[0], options, providers=["CPUExecutionProvider"])
        rng = np.random.RandomState(0)
        inputs = zip(self._session.get_inputs(), input_shapes)
        self._inputs = {value.name: rng.standard_normal(shape).astype(np.float32) for value, shape in inputs}

    def run(self) -> None:
        """Run the model once."""
        self._session.run(None, self._inputs)


def describe() -> dict[str, Any]:
    """Say what computes, and in which numbers."""
    return {
        "runtime": "ONNX Runtime",
        "runtime_version": onnxruntime.__version__,
        "precision": "float32",
        "provider": "CPUExecutionProvider",
    }


load = Model
