"""A subnet as the two files of an ncnn network, made by pnnx, and the files under ncnn on the CPU.

Legend: K keypoints, R input size in pixels.
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx

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
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose

TIMEOUT_S = 300.0
"""Longest that pnnx may take; LitePose-L takes seconds."""


class NcnnFiles(NamedTuple):
    """The contents of an ncnn network's ``.param`` and ``.bin`` files."""

    param: bytes
    weights: bytes

    def write(self, folder: Path, stem: str) -> list[str]:
        """Write ``STEM.ncnn.param`` and ``STEM.ncnn.bin``, and return these names."""
        names = [f"{stem}.ncnn.param", f"{stem}.ncnn.bin"]
        for name, content in zip(names, self, strict=True):
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
        return names


def convert_to_ncnn(
    model: onnx.ModelProto, *, precision: Precision = "float32", timeout_s: float = TIMEOUT_S
) -> NcnnFiles:
    """Convert an ONNX model with pnnx; inputs become ``in0``, ``in1``, outputs ``out0``, ``out1``, without the batch.

    From the ONNX graph pnnx makes the same ncnn layers as from the traced torch module, in a fifth of the time.

    Args:
        model: Fixed shapes, batch 1, weights inside.
        precision: How weights are stored.
        timeout_s: Seconds after which pnnx is killed.

    Raises:
        InputError: If pnnx is not installed.
        RuntimeError: If pnnx does not know what to do with the model, or takes too long.
    """
    command = [str(find_pnnx("ncnn")), "model.onnx", f"fp16={int(precision == 'float16')}"]
    with TemporaryDirectory() as name:  # pnnx leaves nine files beside its input
        folder = Path(name)
        onnx.save(model, folder / "model.onnx")
        try:
            answer = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"pnnx has not converted {model.graph.name} in {timeout_s:g} s") from None
        converted = [folder / "model.ncnn.param", folder / "model.ncnn.bin"]
        if answer.returncode or not all(path.is_file() for path in converted):
            raise RuntimeError(f"pnnx cannot convert {model.graph.name}: {answer.stdout}{answer.stderr}")
        param, weights = (path.read_bytes() for path in converted)
        return NcnnFiles(param, weights)


class NcnnFormat(DeviceFormat):
    """A ``.param`` and a ``.bin`` file: input ``in0`` (3, R, R), outputs ``out0`` and ``out1`` as ``LitePose``'s heads.

    Example:
        >>> fmt = NcnnFormat()
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        >>> head0, head1 = fmt.open(folder)(images)  # doctest: +SKIP
    """

    def __init__(self, precision: Precision = "float32") -> None:
        super().__init__(precision)
        self.name = f"ncnn{self.suffix}"
        self.files = (f"model{self.suffix}.ncnn.param", f"model{self.suffix}.ncnn.bin")
        for package in ("pnnx", "ncnn"):
            import_optional(package, f"format {self.name}", "ncnn")

    def write(self, folder: Path, subnet: LitePose) -> None:
        """Convert the network and write the two files."""
        convert_to_ncnn(build_onnx(subnet), precision=self.precision).write(folder, f"model{self.suffix}")

    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        """Open the files in a net."""
        return open_ncnn(folder / self.files[0], threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        ncnn, pnnx = (import_optional(package, self.name, "ncnn") for package in ("ncnn", "pnnx"))
        runtime = {"runtime": "ncnn", "runtime_version": ncnn.__version__, "converter": f"pnnx {pnnx.__version__}"}
        return {**super().describe(), "layout": "NCHW", **runtime}


def open_ncnn(path: Path, *, threads: int = 1) -> Runner:
    """Open a ``.param`` file, with the ``.bin`` file beside it, in ncnn on the CPU, computing in float32.

    Raises:
        InputError: If a file is missing, damaged or no network of ``NcnnFormat``, or ncnn is not installed.
    """
    ncnn = import_optional("ncnn", str(path), "ncnn")
    net = ncnn.Net()
    options = net.opt
    options.use_vulkan_compute = False
    options.num_threads = threads
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_packed = options.use_bf16_storage = False
    for file, load in ((path, net.load_param), (path.with_suffix(".bin"), net.load_model)):
        require_file(file)
        if load(str(file)):
            raise InputError(f"{file}: ncnn {ncnn.__version__} cannot open it")
    found = [*net.input_names(), *net.output_names()]
    if found != ["in0", "out0", "out1"]:
        raise InputError(f"{path}: has the inputs and outputs {', '.join(found)}; a pose network has in0, out0, out1")

    def run(images: FloatArray) -> Heads:
        image = np.ascontiguousarray(images[0])  # the matrix is a view that does not keep it
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        head0, head1 = (np.array(extractor.extract(f"out{i}")[1])[None] for i in range(2))
        return head0, head1

    return run


def find_pnnx(needed_by: str) -> Path:
    """Return the converter's executable.

    Raises:
        InputError: If it is not installed; the message names what needs it and the extra that brings it.
    """
    return Path(import_optional("pnnx", needed_by, "ncnn").EXEC_PATH)
