"""A subnet as an ONNX file, batch norms folded, nothing in it but what runs; and the file under ONNX Runtime.

Legend: K keypoints, R input size in pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnxruntime

from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.export.folding import fold_weights
from litepose_ofa.supernet.export.formats import ExportFormat, FloatArray, Heads, Runner, require_file
from litepose_ofa.supernet.export.onnx_graph import OPSET, OPSETS, Deconvs, OnnxGraph, Output, Shape, add_network
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose

INPUT_NAME = "images"
OUTPUT_NAMES = ("head0", "head1")

Batch = Literal["one", "dynamic"]
"""Whether a file takes one image a run, or any number."""


def build_onnx(
    subnet: LitePose, *, batch: Batch = "one", opset: int = OPSET, deconvs: Deconvs = "separate"
) -> onnx.ModelProto:
    """Return a network in eval mode as an ONNX model, weights inside.

    Nodes are called after the state-dict names of their convolutions. Equal weights give equal bytes.

    Args:
        subnet: The network, in any mode.
        batch: The input ``images`` is (1, 3, R, R), or (batch, 3, R, R).
        opset: Version of the ONNX operators, of ``litepose_ofa.supernet.export.onnx_graph.OPSETS``.
        deconvs: How fusion deconvs run; what is computed is the same but for rounding.

    Returns:
        A model of the outputs ``head0`` (1, 2K, R / 4, R / 4) and ``head1`` (1, K, R / 2, R / 2).

    Raises:
        InputError: If ``batch`` or ``opset`` is another.

    Example:
        >>> from litepose_ofa.supernet.archs.space import SearchSpace
        >>> model = build_onnx(LitePose(SearchSpace.preset("tiny").smallest()))
        >>> sorted({node.op_type for node in model.graph.node})
        ['Add', 'Clip', 'Conv', 'ConvTranspose', 'Relu']
    """
    require_options(batch, opset)
    graph = OnnxGraph(deconvs)
    heads = add_subnet(graph, subnet, batch)
    return graph.to_model("litepose", list(map(Output, heads, head_shapes(subnet, batch))), opset=opset)


def export_onnx(path: Path, subnet: LitePose, *, batch: Batch = "one", opset: int = OPSET) -> None:
    """Write the model of ``build_onnx``, whose other arguments these are, as ONNX Runtime runs it fastest."""
    save_onnx(path, build_onnx(subnet, batch=batch, opset=opset, deconvs="merged"))


def save_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Write a model, through a temporary name."""
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def require_options(batch: Batch, opset: int) -> None:
    """Refuse what a file cannot be written with."""
    require(batch in get_args(Batch), "batch", batch, " or ".join(get_args(Batch)))
    require(opset in OPSETS, "opset", opset, f"{OPSETS.start} to {OPSETS.stop - 1}")


def add_subnet(graph: OnnxGraph, subnet: LitePose, batch: Batch) -> tuple[str, str]:
    """Add the input ``images`` and a network to a graph, and return its heads."""
    size = subnet.arch.image_size
    images = graph.add_input(INPUT_NAME, (batch_side(batch), 3, size, size))
    heads = add_network(graph, subnet.arch, subnet.num_keypoints, images, fold_weights(subnet))
    head0, head1 = map(graph.rename, heads, OUTPUT_NAMES)
    return head0, head1


def head_shapes(subnet: LitePose, batch: Batch) -> tuple[Shape, Shape]:
    """Return the shapes of the two heads."""
    size, keypoints, side = subnet.arch.image_size, subnet.num_keypoints, batch_side(batch)
    return (side, 2 * keypoints, size // 4, size // 4), (side, keypoints, size // 2, size // 2)


def batch_side(batch: Batch) -> int | str:
    """Return the first side of every input and output."""
    return 1 if batch == "one" else "batch"


class OnnxFormat(ExportFormat):
    """One ``.onnx`` file: input ``images`` (1, 3, R, R), outputs ``head0`` and ``head1`` as ``LitePose``'s.

    Args:
        batch: Whether the file takes one image a run, or any number.
        opset: Version of the ONNX operators.

    Raises:
        InputError: If ``batch`` or ``opset`` is out of range.

    Example:
        >>> fmt = OnnxFormat()
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        >>> head0, head1 = fmt.open(folder)(images)  # doctest: +SKIP
    """

    name = "onnx"
    files: tuple[str, ...] = ("model.onnx",)

    def __init__(self, *, batch: Batch = "one", opset: int = OPSET) -> None:
        require_options(batch, opset)
        self.batch: Batch = batch
        self.opset = opset

    def write(self, folder: Path, subnet: LitePose) -> None:
        """Write the file of a network in eval mode."""
        export_onnx(folder / self.files[0], subnet, batch=self.batch, opset=self.opset)

    def open(self, folder: Path, *, threads: int = 1) -> Runner:
        """Open the file in a session."""
        return open_onnx(folder / self.files[0], threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {
            "batch": 1 if self.batch == "one" else self.batch,
            "layout": "NCHW",
            "precision": "float32",
            "opset": self.opset,
            "ir_version": onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", self.opset)]),
            "runtime": "onnxruntime",
            "runtime_version": onnxruntime.__version__,
        }


def open_onnx(path: Path, *, threads: int = 1) -> Runner:
    """Open a network's file in ONNX Runtime on the CPU; with a dynamic batch it runs several images too.

    Raises:
        InputError: If the file is missing, damaged or no network of ``OnnxFormat``.
    """
    session = open_session(path, OUTPUT_NAMES, threads=threads)

    def run(images: FloatArray) -> Heads:
        head0, head1 = session.run(OUTPUT_NAMES, {INPUT_NAME: np.ascontiguousarray(images)})
        return head0, head1

    return run


def open_session(path: Path, outputs: Sequence[str], *, threads: int = 1) -> Any:
    """Return a session of an ONNX file on the CPU.

    Args:
        path: The file.
        outputs: Names that its outputs must have.
        threads: Threads of an operator.

    Raises:
        InputError: If the file is missing or damaged, or has other inputs or outputs.
    """
    require_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for every way in which a file is broken
        raise InputError(f"{path}: ONNX Runtime cannot open it ({' '.join(str(error).split())[:160]})") from None
    found = [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
    if found != [[INPUT_NAME], list(outputs)]:
        names = [", ".join(each) for each in found]
        raise InputError(f"{path}: has the input {names[0]} and outputs {names[1]}; it must have {', '.join(outputs)}")
    return session
