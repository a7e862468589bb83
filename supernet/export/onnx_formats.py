"""ONNX files as export formats, and under ONNX Runtime on the CPU.

Legend: K keypoints, M candidates a keypoint, R input size in pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.people import DEFAULT_SETTINGS
from litepose_ofa.supernet.export.formats import (
    Difference,
    FloatArray,
    Heads,
    run_torch,
)
from litepose_ofa.supernet.export.onnx_graph import OPSET
from litepose_ofa.supernet.export.onnx_model import (
    INPUT_NAME,
    OUTPUT_NAMES,
    TOLERANCE,
    Batch,
    export_onnx,
    head_shapes,
    require_options,
    save_onnx,
)
from litepose_ofa.supernet.export.peaks import PEAK_NAMES, Peaks, peaks_difference
from litepose_ofa.supernet.export.peaks_graph import build_peaks_onnx, require_peak_options
from litepose_ofa.supernet.network.litepose import LitePose

FLOAT = onnx.TensorProto.FLOAT


class OnnxFormat:
    """One ``.onnx`` file: input ``images`` (1, 3, R, R), outputs ``head0`` and ``head1`` as ``LitePose``'s.

    Args:
        batch: Whether the file takes one image a run, or any number.
        opset: Version of the ONNX operators.

    Raises:
        InputError: If ``batch`` or ``opset`` is none that a file can have.

    Example:
        >>> fmt = OnnxFormat()
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        ['model.onnx']
        >>> head0, head1 = fmt.open(folder)(images)  # doctest: +SKIP
    """

    name = "onnx"
    tolerance: float | None = TOLERANCE
    relative = False
    file = "model.onnx"

    def __init__(self, *, batch: Batch = "one", opset: int = OPSET) -> None:
        require_options(batch, opset)
        self.batch = batch
        self.opset = opset

    def write(self, folder: Path, subnet: LitePose) -> list[str]:
        """Write the file of a network in eval mode."""
        export_onnx(folder / self.file, subnet, batch=self.batch, opset=self.opset)
        return [self.file]

    def open(self, folder: Path, *, threads: int = 1) -> "OnnxRunner":
        """Open the file in a session.

        Raises:
            InputError: If it is missing or damaged.
        """
        return OnnxRunner(folder / self.file, threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return describe_onnx(self.batch, self.opset)


class OnnxRunner:
    """A network in ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: Threads of an operator.

    Raises:
        InputError: If the file is missing, damaged or no network of ``OnnxFormat``.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._session = open_session(path, OUTPUT_NAMES, threads=threads)

    def __call__(self, images: FloatArray) -> Heads:
        """Run images, shape (1, 3, R, R) or more with a dynamic batch, normalised; heads as ``LitePose`` has them."""
        head0, head1 = self._session.run(OUTPUT_NAMES, {INPUT_NAME: np.ascontiguousarray(images)})
        return head0, head1


class OnnxPeaksFormat:
    """One ``.onnx`` file: input ``images``, outputs as of ``Peaks``, ready to be grouped.

    It is compared by what it is made of: its heads, which it does not give back, with torch's, and its peaks with those
    that the decoder finds in its heads.

    Args:
        batch: Whether the file takes one image a run, or any number.
        opset: Version of the ONNX operators.
        most: Most candidates of a keypoint (M).
        threshold: Responses of candidates are above this.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> fmt = OnnxPeaksFormat(most=20)
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        ['model_peaks.onnx']
        >>> people, scores = group_peaks(fmt.open(folder)(images))  # doctest: +SKIP
    """

    name = "onnx_peaks"
    tolerance: float | None = TOLERANCE
    relative = False
    file = "model_peaks.onnx"

    def __init__(
        self,
        *,
        batch: Batch = "one",
        opset: int = OPSET,
        most: int = DEFAULT_SETTINGS.max_people,
        threshold: float = DEFAULT_SETTINGS.threshold,
    ) -> None:
        require_options(batch, opset)
        require_peak_options(most, threshold)
        self.batch = batch
        self.opset = opset
        self.most = most
        self.threshold = threshold

    def write(self, folder: Path, subnet: LitePose) -> list[str]:
        """Write the file of a network in eval mode."""
        model = build_peaks_onnx(subnet, batch=self.batch, opset=self.opset, most=self.most, threshold=self.threshold)
        save_onnx(folder / self.file, model)
        return [self.file]

    def open(self, folder: Path, *, threads: int = 1) -> "OnnxPeaksRunner":
        """Open the file in a session.

        Raises:
            InputError: If it is missing or damaged.
        """
        return OnnxPeaksRunner(folder / self.file, threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return describe_onnx(self.batch, self.opset) | {"most_candidates": self.most, "threshold": self.threshold}

    def compare(self, folder: Path, subnet: LitePose, images: FloatArray) -> Difference:
        """Return how far the file's heads are from torch's, and its peaks from those of its heads.

        Args:
            folder: Where the file is.
            subnet: The network, in eval mode, on the CPU.
            images: Normalised images (B, 3, R, R).

        Raises:
            InputError: If the file is missing or damaged.
        """
        path, outputs = folder / self.file, (*PEAK_NAMES, *OUTPUT_NAMES)
        open_session(path, PEAK_NAMES)  # refuses what is damaged
        model = onnx.load(path)
        heads = zip(OUTPUT_NAMES, head_shapes(subnet, self.batch), strict=True)
        model.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in heads)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        differences, scales = list[float](), list[float]()
        for image in np.split(images, len(images)):
            *peaks, head0, head1 = session.run(outputs, {INPUT_NAME: np.ascontiguousarray(image)})
            for ours, theirs in zip((head0, head1), run_torch(subnet, image), strict=True):
                differences.append(float(np.abs(ours - theirs).max()))
                scales.append(float(np.abs(theirs).max()))
            differences.append(peaks_difference(Peaks(*peaks), (head0, head1), threshold=self.threshold))
        return Difference(float(np.max(differences)), float(np.max(scales)))  # unlike Python's max, NaN if any is


class OnnxPeaksRunner:
    """A network with the search for peaks in ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: Threads of an operator.

    Raises:
        InputError: If the file is missing, damaged or none of ``OnnxPeaksFormat``.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._session = open_session(path, PEAK_NAMES, threads=threads)

    def __call__(self, images: FloatArray) -> Peaks:
        """Run one image, shape (1, 3, R, R), normalised."""
        return Peaks(*self._session.run(PEAK_NAMES, {INPUT_NAME: np.ascontiguousarray(images)}))


def describe_onnx(batch: Batch, opset: int) -> dict[str, Any]:
    """Return what a manifest says of a float32 ONNX file."""
    return {
        "batch": 1 if batch == "one" else batch,
        "layout": "NCHW",
        "precision": "float32",
        "opset": opset,
        "ir_version": onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]),
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
    }


def open_session(path: Path, outputs: Sequence[str], *, threads: int = 1) -> Any:
    """Return a session of an ONNX file on the CPU.

    Args:
        path: The file.
        outputs: Names that its outputs must have.
        threads: Threads of an operator.

    Raises:
        InputError: If the file is missing or damaged, or has other inputs or outputs.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
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
