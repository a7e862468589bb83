"""Parts of a training step on CPUs by C functions, which are compiled at first use and kept.

In channels-last memory oneDNN takes 2 to 8 times as long for the gradient of a depthwise convolution's weight as for
the convolution itself, and torch's batch norms go over their maps nearly twice as often as they must; what the
functions give is in ``benchmarks/results``. Where no C compiler is found, torch's own do the work.
"""

import contextlib
import ctypes
import hashlib
import logging
import math
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

KERNELS = (3, 5, 7, 9)
"""Sides of depthwise kernels."""

_SOURCES = ("depthwise.c", "norm.c")
_FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native",), ())
"""The first that the compiler takes; gcc's OpenMP library is the one that torch has loaded: they share its threads."""


class _Convolution(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input", "output", "weight")),
        *((name, ctypes.c_ssize_t) for name in ("images", "height", "width", "channels", "out_height", "out_width")),
        *((name, ctypes.c_int) for name in ("kernel", "stride", "turned", "threads")),
    )


class _Norm(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "of_y", "weight", "bias", "result", "mean", "inverse")),
        *((name, ctypes.c_void_p) for name in ("running_mean", "running_var", "of_weight", "of_bias")),
        *((name, ctypes.c_ssize_t) for name in ("pixels", "channels")),
        *((name, ctypes.c_float) for name in ("momentum", "eps", "lowest", "highest")),
        ("threads", ctypes.c_int),
    )


def suits(x: Tensor) -> bool:
    """Say whether a map is float32 in channels-last memory of a CPU, is computed with now, and the functions exist."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and functions() is not None
    )


def depthwise_conv2d(x: Tensor, weight: Tensor, *, turned: bool = False) -> Tensor:
    """Convolve maps (B, C, H, W) that ``suits`` by a weight (C, 1, k, k) with stride 1; the padding is half of k.

    Args:
        x: The maps.
        weight: k one of ``KERNELS``.
        turned: By the kernels turned by 180 degrees, which makes an input's gradient of the output's.
    """
    y = torch.empty_like(x)
    _convolve("depthwise_forward", x, y, weight.contiguous(), 1, turned)
    return y


def depthwise_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the gradient of a depthwise convolution's weight, (C, 1, kernel, kernel); the padding is half of a kernel.

    Args:
        x: Input (B, C, H, W) that ``suits``.
        gradient: That of the output, (B, C, ceil(H / stride), ceil(W / stride)).
        kernel: One of ``KERNELS``.
        stride: 1 or 2.
    """
    of_weight = x.new_empty(x.shape[1], 1, kernel, kernel)
    _convolve("depthwise_gradient", x, gradient.contiguous(memory_format=torch.channels_last), of_weight, stride)
    return of_weight


def activated_norm(
    x: Tensor, vectors: tuple[Tensor, ...], momentum: float, eps: float, ceiling: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise and activate by the batch's statistics; return that, the means and one over the standard deviations.

    Args:
        x: Maps (B, C, H, W) that ``suits``.
        vectors: Weight, bias, running mean and running variance, (C,) each; the latter two are updated.
        momentum: Of the running statistics.
        eps: Added to variances.
        ceiling: Values below 0 and above it are cut off; None for no activation.
    """
    y, mean, inverse = torch.empty_like(x), torch.empty_like(vectors[0]), torch.empty_like(vectors[0])
    weight, bias, *running = _pointers(*vectors)
    pointers = (None, weight, bias, *_pointers(y, mean, inverse), *running, None, None)
    _normalise("norm_forward", x, pointers, momentum, eps, ceiling)
    return y, mean, inverse


def activated_norm_backward(
    gradient: Tensor, x: Tensor, statistics: tuple[Tensor, ...], eps: float, ceiling: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``activated_norm``'s input, weight and bias.

    Args:
        gradient: That of its first result, (B, C, H, W).
        x: Its input.
        statistics: Its weight and bias, and its other two results, (C,) each.
        eps: As there.
        ceiling: As there.
    """
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    of_x, of_weight, of_bias = torch.empty_like(x), torch.empty_like(statistics[0]), torch.empty_like(statistics[0])
    of_y, weight, bias, mean, inverse = _pointers(gradient, *statistics)
    result, *others = _pointers(of_x, of_weight, of_bias)
    _normalise("norm_backward", x, (of_y, weight, bias, result, mean, inverse, None, None, *others), 0.0, eps, ceiling)
    return of_x, of_weight, of_bias


def _convolve(name: str, x: Tensor, y: Tensor, weight: Tensor, stride: int, turned: bool = False) -> None:
    images, channels, *size = x.shape
    sizes = (images, *size, channels, *y.shape[2:])
    numbers = (weight.shape[-1], stride, turned, torch.get_num_threads())
    _call(name, _Convolution(*_pointers(x, y, weight), *sizes, *numbers))


def _normalise(
    name: str, x: Tensor, pointers: tuple[int | None, ...], momentum: float, eps: float, ceiling: float | None
) -> None:
    channels = x.shape[1]
    limits = (-math.inf, math.inf) if ceiling is None else (0.0, ceiling)
    sizes = x.numel() // channels, channels
    _call(name, _Norm(x.data_ptr(), *pointers, *sizes, momentum, eps, *limits, torch.get_num_threads()))


def _pointers(*tensors: Tensor) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in tensors)


def _call(name: str, arguments: ctypes.Structure) -> None:
    library = functions()
    assert library is not None
    if getattr(library, name)(ctypes.byref(arguments)):
        raise RuntimeError(f"{name} found no memory, or is not made for this kernel or stride")


@cache
def functions() -> ctypes.CDLL | None:
    """Load the C functions, compiled before or now; return None, and say so, where that is not possible."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    sources = [Path(__file__).with_name(name) for name in _SOURCES]
    folder, said = _kept_in(), "not found"
    for flags in _FLAGS if shutil.which(compiler[0]) else ():
        command = [*compiler, "-O3", *flags, "-shared", "-fPIC", *map(str, sources), "-lm"]
        kept = None if folder is None else folder / f"{_name(command, sources)}.so"
        if kept is not None and kept.exists():
            with contextlib.suppress(OSError):  # damaged: it is compiled again
                return ctypes.CDLL(str(kept))
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            new = Path(temporary) / "functions.so"
            done = subprocess.run([*command, "-o", str(new)], capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().partition("\n")[0]
                continue
            library = ctypes.CDLL(str(new))
            if kept is not None:
                new.replace(kept)
            return library
    logger.warning(
        "no C compiler to be had (%s: %s): training on this CPU takes nearly twice as long", compiler[0], said
    )
    return None


def _kept_in() -> Path | None:
    """Return the folder of compiled functions in the user's cache; None where that cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "litepose_ofa"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):
        return None
    return folder


def _name(command: list[str], sources: list[Path]) -> str:
    """Return a name for what a compiler makes of the sources for this CPU."""
    version = subprocess.run([command[0], "--version"], capture_output=True, check=False).stdout
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}) or lines
    parts = [version, *(text.encode() for text in [*command, *features]), *(source.read_bytes() for source in sources)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
