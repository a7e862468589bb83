"""Tries each runtime on the smallest tiny network: ``python -m litepose_ofa.scripts.diagnosis.probes NAME``.

Each runs in a process of its own, which a broken library may take down without taking the doctor along. The process
prints what it found in one line; where it fails, the last line on standard error says why.
"""

import importlib
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litepose_ofa.supernet.export.formats import ExportFormat


def probe_torch() -> str:
    """Train a convolution for one step."""
    import torch

    layer = torch.nn.Conv2d(3, 8, 3)
    layer(torch.ones(1, 3, 8, 8)).sum().backward()
    build = "no CUDA in this build" if torch.version.cuda is None else f"built for CUDA {torch.version.cuda}"
    return f"{torch.__version__}, {build}"


def probe_cuda() -> str:
    """Run a convolution on every GPU that torch sees."""
    import torch

    names = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        torch.nn.Conv2d(3, 8, 3).to(index)(torch.ones(1, 3, 8, 8, device=index)).sum().item()
        names.append(f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    return "; ".join(names)


def probe_onnxruntime() -> str:
    """Export to ONNX, run, compare with torch."""
    from litepose_ofa.supernet.export.onnx_model import OnnxFormat

    return _probe_format(OnnxFormat(), "onnxruntime")


def probe_litert() -> str:
    """Export for LiteRT, run, compare with torch."""
    from litepose_ofa.supernet.export.litert import LitertFormat

    return _probe_format(LitertFormat(), "ai_edge_litert")


def probe_ncnn() -> str:
    """Export for ncnn through pnnx, run, compare with torch."""
    from litepose_ofa.supernet.export.ncnn import NcnnFormat

    return _probe_format(NcnnFormat(), "ncnn")


def probe_ray() -> str:
    """Start Ray with one worker, run a task, stop it."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        answer = ray.get(ray.remote(lambda: 6 * 7).remote(), timeout=60)
    finally:
        ray.shutdown()
    assert answer == 42
    return f"{ray.__version__}, started, ran a task and stopped"


def _probe_format(fmt: "ExportFormat", package: str) -> str:
    import numpy as np
    import torch

    from litepose_ofa.supernet.archs.space import SearchSpace
    from litepose_ofa.supernet.export.formats import measure_parity
    from litepose_ofa.supernet.network.litepose import LitePose

    torch.manual_seed(0)
    subnet = LitePose(SearchSpace.preset("tiny").smallest()).eval()
    size = subnet.arch.image_size
    images = np.random.default_rng(0).standard_normal((1, 3, size, size), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        fmt.write(Path(folder), subnet)
        parity = measure_parity(fmt, Path(folder), subnet, images)
    difference = parity.max_abs_difference / parity.max_abs_output
    found = importlib.import_module(package).__version__
    return f"{found}, runs a network as torch does, to {difference:.0e} of the largest output"


PROBES: dict[str, Callable[[], str]] = {
    "torch": probe_torch,
    "cuda": probe_cuda,
    "onnxruntime": probe_onnxruntime,
    "litert": probe_litert,
    "ncnn": probe_ncnn,
    "ray": probe_ray,
}


if __name__ == "__main__":
    print(PROBES[sys.argv[1]]())
