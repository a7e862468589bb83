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
from litepose_ofa.supernet.export.formats import FloatArray, Heads
from litepose_ofa.supernet.export.onnx_model import build_onnx
from litepose_ofa.supernet.export.precision import Precision, name_of, tolerance_of
from litepose_ofa.supernet.files import replacing
from litepose_ofa.supernet.network.litepose import LitePose

TIMEOUT_S = 300.0
"""Longest that pnnx may take; LitePose-L takes seconds."""

_NAMES = {"float32": "ncnn", "float16": "ncnn_fp16"}
_STEMS = {"float32": "model", "float16": "model_fp16"}


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


class NcnnFormat:
    """A ``.param`` and a ``.bin`` file: input ``in0`` (3, R, R), outputs ``out0`` and ``out1`` as ``LitePose``'s heads.

    Args:
        precision: How weights are stored; what is computed in is for ncnn's options to say.

    Raises:
        InputError: If ncnn or pnnx is not installed.

    Example:
        >>> fmt = NcnnFormat()
        >>> fmt.write(folder, subnet)  # doctest: +SKIP
        ['model.ncnn.param', 'model.ncnn.bin']
        >>> head0, head1 = fmt.open(folder)(images)  # doctest: +SKIP
    """

    def __init__(self, precision: Precision = "float32") -> None:
        self.name = _NAMES[precision]
        self.precision = precision
        self.relative = precision == "float16"
        self.tolerance: float | None = tolerance_of(precision)
        find_pnnx(f"format {self.name}")
        _require_ncnn(f"format {self.name}")

    def write(self, folder: Path, subnet: LitePose) -> list[str]:
        """Write the two files of a network in eval mode."""
        return convert_to_ncnn(build_onnx(subnet), precision=self.precision).write(folder, _STEMS[self.precision])

    def open(self, folder: Path, *, threads: int = 1) -> "NcnnRunner":
        """Open the files in a net.

        Raises:
            InputError: If one is missing or damaged.
        """
        return NcnnRunner(folder / f"{_STEMS[self.precision]}.ncnn.param", threads=threads)

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        import ncnn
        import pnnx

        return {
            "batch": 1,
            "layout": "NCHW",
            "precision": name_of(self.precision),
            "runtime": "ncnn",
            "runtime_version": ncnn.__version__,
            "converter": f"pnnx {pnnx.__version__}",
        }


class NcnnRunner:
    """A network in ncnn on the CPU, computing in float32.

    Args:
        path: The ``.param`` file; the ``.bin`` file lies beside it.
        threads: Threads of a layer.

    Raises:
        InputError: If a file is missing, damaged or no network of ``NcnnFormat``, or ncnn is not installed.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        _require_ncnn(str(path))
        import ncnn

        self._mat = ncnn.Mat
        self._net = ncnn.Net()
        options = self._net.opt
        options.use_vulkan_compute = False
        options.num_threads = threads
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_packed = options.use_bf16_storage = False
        weights = path.with_suffix(".bin")
        for file, load in ((path, self._net.load_param), (weights, self._net.load_model)):
            if not file.is_file():
                raise InputError(f"{file}: no such file")
            if load(str(file)):
                raise InputError(f"{file}: ncnn {ncnn.__version__} cannot open it")
        found = [*self._net.input_names(), *self._net.output_names()]
        if found != ["in0", "out0", "out1"]:
            raise InputError(
                f"{path}: has the inputs and outputs {', '.join(found)}; a pose network has in0, out0, out1"
            )

    def __call__(self, images: FloatArray) -> Heads:
        """Run one image, shape (1, 3, R, R), normalised; heads as ``LitePose`` has them."""
        image = np.ascontiguousarray(images[0])  # the matrix is a view that does not keep it
        extractor = self._net.create_extractor()
        extractor.input("in0", self._mat(image))
        head0, head1 = (np.array(extractor.extract(f"out{i}")[1])[None] for i in range(2))
        return head0, head1


def find_pnnx(needed_by: str) -> Path:
    """Return the converter's executable.

    Raises:
        InputError: If it is not installed; the message names what needs it and the extra that brings it.
    """
    try:
        import pnnx
    except ImportError:
        raise InputError(_missing(needed_by, "pnnx")) from None
    return Path(pnnx.EXEC_PATH)


def _require_ncnn(needed_by: str) -> None:
    try:
        import ncnn  # noqa: F401
    except ImportError:
        raise InputError(_missing(needed_by, "ncnn")) from None


def _missing(needed_by: str, package: str) -> str:
    return f"{needed_by} needs the package {package}; install it with pip install 'litepose-ofa[ncnn]'"
