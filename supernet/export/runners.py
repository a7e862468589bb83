"""Networks run on images: an exported file in its runtime, on the CPU, and the same network in torch.

Legend: B images, K keypoints, R input size in pixels.
"""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.people import PoseModel
from litepose_ofa.supernet.export.onnx_graph import INPUT_NAME, OUTPUT_NAMES
from litepose_ofa.supernet.network.litepose import LitePose

FloatArray = npt.NDArray[np.float32]
Heads = tuple[FloatArray, FloatArray]

Runner = Callable[[FloatArray], Heads]
"""An exported network opened in its runtime: one normalised image (1, 3, R, R) to ``LitePose``'s heads, (1, 2K, R / 4,
R / 4) and (1, K, R / 2, R / 2)."""


def open_runner(path: Path, *, threads: int = 1) -> Runner:
    """Open a runtime's file, which is known by its suffix; ncnn's ``.bin`` lies beside its ``.param``.

    Raises:
        InputError: If a file is missing, damaged or no pose network, or its runtime is not installed; the message names
            the extra to install.
    """
    return _OPENERS[path.suffix](path, threads)


def is_runtime_file(path: Path) -> bool:
    """Say whether a file's name is one of a runtime's."""
    return path.suffix in _OPENERS or path.name.endswith(".ncnn.bin")


def as_model(runner: Runner, image_size: int) -> PoseModel:
    """Return a network under a runtime as one to call like torch's: images (B, 3, R, R) to the two heads."""

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(images.shape[1:]) != (3, image_size, image_size):
            given = f"{images.shape[3]}x{images.shape[2]}"
            raise InputError(f"the exported file takes inputs of {image_size}x{image_size} pixels; this one is {given}")
        heads = [runner(np.ascontiguousarray(image.cpu().numpy())) for image in torch.split(images, 1)]
        head0, head1 = (torch.from_numpy(np.concatenate(head)) for head in zip(*heads, strict=True))
        return head0, head1

    return run


@torch.inference_mode()
def run_torch(subnet: LitePose, images: FloatArray) -> Heads:
    """Return the network's heads of images (B, 3, R, R) as arrays."""
    head0, head1 = subnet(torch.from_numpy(images))
    return head0.numpy(), head1.numpy()


def compare_heads(path: Path, subnet: LitePose, images: FloatArray) -> Iterator[tuple[float, float]]:
    """Yield for each image (B, 3, R, R) how far a file's outputs are from torch's, and torch's largest output."""
    runner = open_runner(path)
    for image in np.split(images, len(images)):
        yield largest_difference(runner(image), run_torch(subnet, image))


def largest_difference(ours: Heads, theirs: Heads) -> tuple[float, float]:
    """Return the largest difference of two networks' outputs, and the largest of the other's; NaN if any is."""
    pairs = list(zip(ours, theirs, strict=True))
    return float(np.max([np.abs(a - b).max() for a, b in pairs])), float(np.max([np.abs(b).max() for _, b in pairs]))


def import_optional(module: str, needed_by: str, extra: str) -> Any:
    """Import a package that an extra of ours brings.

    Raises:
        InputError: If it is not installed; the message names what needs it and the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        message = f"{needed_by} needs the package {package}; install it with pip install 'litepose-ofa[{extra}]'"
        raise InputError(message) from None


def require_file(path: Path) -> None:
    """Refuse a file that is missing."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")


def _open_onnx(path: Path, threads: int) -> Runner:
    require_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for every way in which a file is broken
        raise _unreadable(path, "ONNX Runtime", error) from None
    found = [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
    if found != [[INPUT_NAME], list(OUTPUT_NAMES)]:
        inputs, outputs = (", ".join(names) for names in found)
        wanted = ", ".join(OUTPUT_NAMES)
        raise InputError(f"{path}: has the input {inputs} and outputs {outputs}; it must have {wanted}")

    def run(images: FloatArray) -> Heads:
        head0, head1 = session.run(OUTPUT_NAMES, {INPUT_NAME: np.ascontiguousarray(images)})
        return head0, head1

    return run


def _open_litert(path: Path, threads: int) -> Runner:
    """Open a ``.tflite`` file in LiteRT's interpreter, with XNNPACK; the runner takes and gives NCHW."""
    interpreters = import_optional("ai_edge_litert.interpreter", str(path), "litert")
    require_file(path)
    try:
        interpreter = interpreters.Interpreter(model_content=path.read_bytes(), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise _unreadable(path, "LiteRT", error) from None
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


def _open_ncnn(path: Path, threads: int) -> Runner:
    """Open a ``.param`` file, with the ``.bin`` file beside it, in ncnn, computing in float32."""
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


def _unreadable(path: Path, runtime: str, error: Exception) -> InputError:
    return InputError(f"{path}: {runtime} cannot open it ({' '.join(str(error).split())[:160]})")


_OPENERS = {".onnx": _open_onnx, ".tflite": _open_litert, ".param": _open_ncnn}
