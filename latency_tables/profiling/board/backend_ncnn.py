"""How the kit calls ncnn on the CPU, with the pool allocators that ncnn's own benchmark uses.

``pip install ncnn`` has wheels for aarch64. ``--option precision=float16`` stores and computes in half precision where
the processor can (ARMv8.2: not a Raspberry Pi 4) and stores in it elsewhere; float32 is the default.
"""

from __future__ import annotations

from typing import Any

import ncnn
import numpy as np
from measurement_file import RefusedError

PRECISIONS = {
    "float32": "float32",
    "float16": "float16 storage, and float16 arithmetic where the processor has it",
}

_chosen = {"precision": "float32"}


class Model:
    """One model of two files in a net of its own, with fixed random inputs."""

    def __init__(self, paths: list[str], input_shapes: list[list[int]], threads: int) -> None:
        self._net = ncnn.Net()
        self._allocators = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()  # the net does not hold them
        options = self._net.opt
        options.use_vulkan_compute = False
        options.num_threads = threads
        options.blob_allocator, options.workspace_allocator = self._allocators
        half = _chosen["precision"] == "float16"
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = half
        options.use_bf16_packed = options.use_bf16_storage = False
        param, weights = paths
        if self._net.load_param(param) or self._net.load_model(weights):
            raise RefusedError(f"{param}: ncnn {ncnn.__version__} cannot load it")
        rng = np.random.RandomState(0)
        arrays = [rng.standard_normal(shape[1:]).astype(np.float32) for shape in input_shapes]
        self._inputs = [(f"in{i}", ncnn.Mat(array).clone()) for i, array in enumerate(arrays)]
        self._outputs = self._net.output_names()

    def run(self) -> None:
        """Run the model once."""
        extractor = self._net.create_extractor()
        for name, value in self._inputs:
            extractor.input(name, value)
        for name in self._outputs:
            extractor.extract(name)


def configure(**options: str) -> None:
    """Take ``precision``: float32 or float16."""
    for name, value in options.items():
        if name != "precision" or value not in PRECISIONS:
            raise RefusedError(f"option {name}={value}: the options of ncnn are precision={'|'.join(PRECISIONS)}")
    _chosen.update(options)


def describe() -> dict[str, Any]:
    """Say what computes, and in which numbers."""
    return {
        "runtime": "ncnn",
        "runtime_version": ncnn.__version__,
        "precision": PRECISIONS[_chosen["precision"]],
        "provider": "CPU",
    }


load = Model
