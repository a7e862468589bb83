"""Export formats, and how far a format's file under its runtime is from the network in torch: outputs and AP.

Legend: B images, K keypoints, R input size in pixels.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.errors import located
from litepose_ofa.supernet.evaluation.inference import evaluate_dataset
from litepose_ofa.supernet.evaluation.intervals import ResampledAP
from litepose_ofa.supernet.evaluation.matching import Matches
from litepose_ofa.supernet.evaluation.people import DEFAULT_SETTINGS, InferenceSettings, PoseModel, SquarePredictor
from litepose_ofa.supernet.export.conversion import convert_to_ncnn, quantise
from litepose_ofa.supernet.export.onnx_graph import OPSET, Batch, build_onnx
from litepose_ofa.supernet.export.peaks import build_peaks_onnx, compare_peaks
from litepose_ofa.supernet.export.runners import FloatArray, as_model, compare_heads, import_optional, open_runner
from litepose_ofa.supernet.export.tflite_translation import translate_to_tflite
from litepose_ofa.supernet.network.litepose import LitePose

TOLERANCE = 1e-4
"""Largest absolute difference between a float32 file in its runtime and torch."""

FLOAT16_TOLERANCE = 0.03
"""Largest difference from torch, of the largest output, that weights in float16 may make.

Rounding changes a weight by up to 2**-11 of it, and every layer passes on the changes before it: up to 0.02 were seen
of published networks with random weights. A wrong or missing layer makes a difference of the order of 1.
"""

PEAKS = "onnx_peaks"
"""The format whose files give peaks instead of heads."""


class ParityError(RuntimeError):
    """An exported file computes something else than the network it came from."""


@dataclass(frozen=True)
class ExportFormat:
    """A file format of exported networks.

    Attributes:
        name: How ``formats`` names it, such as ``litert_fp16``.
        files: Names of its files; the first is the one to open.
        convert: Returns the contents of the files, of a network in eval mode.
        facts: What a manifest says of it: batch, precision, layout, runtime package and version.
        tolerance: Largest difference from torch that is accepted; None where it is only reported.
        relative: Whether the tolerance is a fraction of torch's largest output instead of an absolute difference.
        compare: Yields for each image, of its first file, the network and images (B, 3, R, R), how far the outputs are
            from torch's, and torch's largest output; NaN if any is.
    """

    name: str
    files: tuple[str, ...]
    convert: Callable[[LitePose], Sequence[bytes]]
    facts: Mapping[str, Any]
    tolerance: float | None = TOLERANCE
    relative: bool = False
    compare: Callable[[Path, LitePose, FloatArray], Iterator[tuple[float, float]]] = compare_heads

    def write(self, folder: Path, subnet: LitePose) -> None:
        """Write the files of a network in eval mode into a folder."""
        for name, content in zip(self.files, self.convert(subnet), strict=True):
            (folder / name).write_bytes(content)


def onnx_format(batch: Batch = "one", opset: int = OPSET) -> ExportFormat:
    """One file of ``build_onnx``, as ONNX Runtime runs it fastest."""
    build = partial(build_onnx, batch=batch, opset=opset, deconvs="merged")
    return _onnx_format("onnx", "model.onnx", build, batch, opset)


def onnx_int8_format(calibration: FloatArray) -> ExportFormat:
    """One file as ``quantise`` makes it, calibrated on images (N, 3, R, R) of the networks' input size."""
    scheme = {"weights": "int8 by output channel", "feature_maps": "uint8", "heads": "float32"}
    images = {"calibration": "minmax", "calibration_images": len(calibration)}
    facts = {"precision": "int8", "quantisation": scheme | images}

    def build(subnet: LitePose) -> onnx.ModelProto:
        return quantise(build_onnx(subnet), calibration)

    return replace(_onnx_format("onnx_int8", "model_int8.onnx", build, "one", OPSET, **facts), tolerance=None)


def onnx_peaks_format(
    batch: Batch = "one",
    opset: int = OPSET,
    *,
    most: int = DEFAULT_SETTINGS.max_people,
    threshold: float = DEFAULT_SETTINGS.threshold,
) -> ExportFormat:
    """One file of ``build_peaks_onnx``, compared by what it is made of: its heads, and the peaks in them."""
    build = partial(build_peaks_onnx, batch=batch, opset=opset, most=most, threshold=threshold)
    facts = {"most_candidates": most, "threshold": threshold}
    fmt = _onnx_format(PEAKS, "model_peaks.onnx", build, batch, opset, **facts)
    return replace(fmt, compare=partial(compare_peaks, batch=batch, threshold=threshold))


def _onnx_format(
    name: str, file: str, build: Callable[[LitePose], onnx.ModelProto], batch: Batch, opset: int, **facts: Any
) -> ExportFormat:
    described = {
        "batch": 1 if batch == "one" else batch,
        "layout": "NCHW",
        "precision": "float32",
        "opset": opset,
        "ir_version": onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]),
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
    }
    return ExportFormat(
        name, (file,), lambda subnet: [build(subnet).SerializeToString(deterministic=True)], described | facts
    )


def litert_format(float16: bool = False) -> ExportFormat:
    """One ``.tflite`` file: input (1, R, R, 3), outputs (1, R / 4, R / 4, 2K) and (1, R / 2, R / 2, K).

    Without half precision in the processor LiteRT computes in float32 with either kind of weights.
    """
    suffix = "_fp16" if float16 else ""
    name = f"litert{suffix}"
    version = import_optional("ai_edge_litert", f"format {name}", "litert").__version__

    def convert(subnet: LitePose) -> list[bytes]:
        with located(f"format {name}"):
            return [translate_to_tflite(build_onnx(subnet), float16=float16)]

    facts = {"layout": "NHWC", "runtime": "ai-edge-litert", "runtime_version": version}
    return _device_format(name, (f"model{suffix}.tflite",), convert, facts, float16)


def ncnn_format(float16: bool = False) -> ExportFormat:
    """A ``.param`` and a ``.bin`` file: input ``in0`` (3, R, R), outputs ``out0`` and ``out1`` like torch's heads."""
    suffix = "_fp16" if float16 else ""
    name = f"ncnn{suffix}"
    ncnn, pnnx = (import_optional(package, f"format {name}", "ncnn").__version__ for package in ("ncnn", "pnnx"))
    return _device_format(
        name,
        (f"model{suffix}.ncnn.param", f"model{suffix}.ncnn.bin"),
        lambda subnet: convert_to_ncnn(build_onnx(subnet), float16=float16),
        {"layout": "NCHW", "runtime": "ncnn", "runtime_version": ncnn, "converter": f"pnnx {pnnx}"},
        float16,
    )


def _device_format(
    name: str,
    files: tuple[str, ...],
    convert: Callable[[LitePose], Sequence[bytes]],
    facts: Mapping[str, Any],
    float16: bool,
) -> ExportFormat:
    described = {"batch": 1, "precision": "float16 weights" if float16 else "float32", **facts}
    return ExportFormat(name, files, convert, described, FLOAT16_TOLERANCE if float16 else TOLERANCE, relative=float16)


def measure_parity(fmt: ExportFormat, folder: Path, subnet: LitePose, images: FloatArray) -> dict[str, Any]:
    """Run a format's files in a folder in their runtime, on normalised images (B, 3, R, R), and compare with torch.

    Returns:
        The number of ``images``, the ``max_abs_difference`` of any output on any of them, torch's ``max_abs_output``,
        and the ``tolerance``: the largest absolute difference that was accepted, None where it is only reported.

    Raises:
        ParityError: If the difference exceeds the format's tolerance, or is NaN.
    """
    found = np.array(list(fmt.compare(folder / fmt.files[0], subnet, images)))
    difference, scale = found.max(axis=0).tolist()
    limit = fmt.tolerance * scale if fmt.tolerance is not None and fmt.relative else fmt.tolerance
    if not (math.isfinite(difference) and (limit is None or difference <= limit)):
        allowed = "a number" if limit is None else f"at most {limit:.0e}"
        raise ParityError(f"{fmt.name}: differs from torch by {difference:.2e}; {allowed} is accepted")
    of_all = {"max_abs_difference": difference, "max_abs_output": scale, "tolerance": limit}
    return {"images": len(images), **of_all}


@dataclass
class FormatEvaluator:
    """Measures exported files of a subnet on a split, with intervals of so many resamples, if any.

    A file has one square input and runs at scale 1 alone, so torch is measured with the same.
    """

    subnet: LitePose
    dataset: KeypointDataset
    settings: InferenceSettings
    batch_size: int
    resamples: int
    seed: int = 0
    threads: int = 1

    def measure(self, fmt: ExportFormat, folder: Path) -> dict[str, Any]:
        """Return AP in [0, 1], AP of torch, and what the file's is above it, with intervals where there are draws.

        The difference is paired: both see the same draws of images.
        """
        runner = open_runner(folder / fmt.files[0], threads=self.threads)
        ours = self._matches(as_model(runner, self.subnet.arch.image_size))
        theirs = self._of_torch
        ap, torch_ap = ours.average_precision(), theirs.average_precision()
        record: dict[str, Any] = {"AP": ap, "torch_AP": torch_ap, "difference": ap - torch_ap}
        if self.resamples:
            drawn, torch_drawn = (
                ResampledAP.of(matches, resamples=self.resamples, seed=self.seed) for matches in (ours, theirs)
            )
            record["interval"] = asdict(drawn.interval())
            record["difference_interval"] = asdict(drawn.minus(torch_drawn)[1])
        return record

    @cached_property
    def _of_torch(self) -> Matches:
        return self._matches(self.subnet)

    def _matches(self, model: PoseModel) -> Matches:
        settings = replace(self.settings, scales=(1.0,))
        predictor = SquarePredictor(model, self.subnet.arch.image_size, self.dataset.skeleton, settings)
        return evaluate_dataset(predictor, self.dataset, batch_size=self.batch_size).comparison.matches
