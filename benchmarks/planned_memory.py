"""The block of memory that ONNX Runtime (CPU) plans for the feature maps of an exported network.

From the second run on, ONNX Runtime takes all feature maps from one block of its arena, laid out by when each is
written and last read (its memory pattern). The arena logs every extension and is told to extend by what is asked for,
so the first extension of the second run is that block. Not in it: the image, which the caller owns; weights; the two
outputs; and working memory that a kernel takes for itself, of which a transposed convolution's columns are the largest,
four times its output. A process of its own runs the network, for the arena and its log belong to the process.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from litepose_ofa.supernet.errors import InputError

Plan = Literal["as_written", "default"]
"""How ONNX Runtime plans.

``as_written``: operators in the order of the network's definition, plain layout, and a map's memory is free once the
map is dead. ``default``: in its own order, which runs the raw branches of decoder and heads long before they are
needed; memory kept for later maps of equal shape; where the processor has blocked kernels, channels padded to a block.
"""

_RUN_MARK = "second run"


def measure_planned_bytes(path: Path, plan: Plan = "as_written") -> int:
    """Return the bytes that ONNX Runtime plans for the feature maps of an ONNX file at batch 1.

    Args:
        path: The file, as ``export_onnx`` writes it.
        plan: How ONNX Runtime plans.

    Raises:
        InputError: If the file is missing or ONNX Runtime cannot run it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    command = [sys.executable, __file__, str(path), plan]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise InputError(f"{path}: ONNX Runtime cannot run it ({result.stderr.strip().splitlines()[-1][:160]})")
    extensions = re.findall(r"Extended allocation by (\d+) bytes", result.stderr.partition(_RUN_MARK)[2])
    if not extensions:
        raise RuntimeError(f"onnxruntime {onnxruntime.__version__} does not log how its arena extends")
    return int(extensions[0])


def _run_twice(path: str, plan: Plan) -> None:
    """Run a network twice in an arena that logs and hands back after each run what it no longer holds."""
    onnxruntime.set_default_logger_severity(1)
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    same_as_requested = 1
    arena = onnxruntime.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": same_as_requested})
    onnxruntime.create_and_register_allocator(memory, arena)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    if plan == "as_written":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        options.enable_mem_reuse = False
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    run_options = onnxruntime.RunOptions()
    run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    for mark in ("first run", _RUN_MARK):
        print(mark, file=sys.stderr, flush=True)
        session.run(None, {image.name: np.zeros(image.shape, np.float32)}, run_options)


if __name__ == "__main__":
    _run_twice(sys.argv[1], "default" if sys.argv[2] == "default" else "as_written")
