"""The class models of every device, fitted anew to the public measurements.

A model of ``class_models.yaml`` holds for one kind of convolution and some kernels and strides; its costs are those of
``ConvolutionModel``, and an absent one is 0. ``mape`` is its mean absolute relative error on the groups held out in
turn, ``fit_mape`` on its own samples. ``fitted_out`` are costs of parts that no LitePose has: hard swish (per 10^6
elements) and squeeze-and-excitation (per 10^6 rescaled elements and per 10^6 weights). ``map_tile`` is the side of the
tiles that maps are rounded up to, 1 if absent.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from litepose_ofa.latency_tables.estimation import public_data
from litepose_ofa.latency_tables.estimation.convolution_models import amounts_of, significant, tiled
from litepose_ofa.latency_tables.estimation.public_data import TimedBlock, TimedConvolution
from litepose_ofa.latency_tables.estimation.regression import Regression, Sample, fit_relative
from litepose_ofa.supernet.archs.operators import Convolution
from litepose_ofa.supernet.files import write_text

BOTH_STRIDES = (1, 2)
NANO_MAP_TILE = 8
"""The Nano's own convolutions bear it as well as none (1) and refute 16; the published networks speak for it."""

KERNELS = (3, 5, 7)


def refit_class_models(folder: Path) -> dict[str, Any]:
    """Fit the class models of all devices.

    Args:
        folder: Holds the CSVs that ``public_data`` reads.

    Returns:
        The content of ``class_models.yaml``.

    Raises:
        InputError: If a file or a column is missing.
    """
    return {
        "adreno_640": _adreno_640(public_data.adreno_640(folder)),
        "cortex_a72": _cortex_a72(public_data.cortex_a72(folder)),
        "cortex_a76": _cortex_a76(public_data.cortex_a76_blocks(folder), public_data.cortex_a76_stems(folder)),
        "jetson_nano": _jetson_nano(public_data.jetson_nano(folder)),
    }


def save_class_models(path: Path, class_models: Mapping[str, Any]) -> None:
    """Write ``class_models.yaml``."""
    text = yaml.safe_dump(class_models, sort_keys=False, width=120)
    write_text(
        path,
        f"# Written by scripts/verbs/estimate_tables.py data=...; what the fields mean stands in refit.py.\n{text}",
    )


def _adreno_640(timed: Sequence[TimedConvolution]) -> dict[str, Any]:
    return {
        "source": "qed-usc/mobile-ml-benchmark @ 40ba833, dataset/tflite_cnn_ops_gpu.csv (MIT)",
        "held_out": "each pair of input and output channels",
        "models": [
            _class_model(timed, "conv", [1], applies_to=[1]),
            _class_model(timed, "conv", [3], applies_to=[3]),
            _class_model(timed, "depthwise", [3], applies_to=[3]),
            _class_model(timed, "depthwise", [5, 7], applies_to=[5, 7]),
        ],
    }


def _cortex_a72(timed: Sequence[TimedConvolution]) -> dict[str, Any]:
    return {
        "source": "tlc-pack/tophub @ f05376e, tophub/arm_cpu_v0.08.log (no licence file; Apache TVM project)",
        "held_out": "each pair of input and output channels",
        "models": [
            _class_model(timed, "conv", [1], applies_to=[1, 3]),
            _class_model(timed, "depthwise", [3], applies_to=[3]),
        ],
    }


def _jetson_nano(timed: Sequence[TimedConvolution]) -> dict[str, Any]:
    return {
        "source": "tlc-pack/tophub @ f05376e, tophub/cuda_v0.10.log (no licence file; Apache TVM project)",
        "held_out": "each pair of input and output channels",
        "map_tile": NANO_MAP_TILE,
        "models": [
            _class_model(timed, "conv", [1], applies_to=[1, 3], map_tile=NANO_MAP_TILE),
            _class_model(timed, "depthwise", [3], applies_to=[3], map_tile=NANO_MAP_TILE),
        ],
    }


def fit_class(timed: Iterable[TimedConvolution], kind: str, kernels: Sequence[int], *, map_tile: int = 1) -> Regression:
    """Fit the costs of the convolutions of a kind and some kernels, of either stride, on maps of whole tiles."""
    return fit_relative(
        [
            Sample(t.ms, amounts_of(tiled(t.convolution, map_tile)), _channels(t.convolution))
            for t in timed
            if t.convolution.kind == kind and t.convolution.kernel in kernels
        ]
    )


def _class_model(
    timed: Iterable[TimedConvolution],
    kind: str,
    kernels: Sequence[int],
    *,
    applies_to: Sequence[int],
    map_tile: int = 1,
) -> dict[str, Any]:
    fit = fit_class(timed, kind, kernels, map_tile=map_tile)
    return _entry(kind, applies_to, BOTH_STRIDES, fit.costs, fit)


def _cortex_a76(blocks: Sequence[TimedBlock], stems: Sequence[TimedConvolution]) -> dict[str, Any]:
    """Fit blocks as sums of their convolutions, depthwise ones by kernel and stride; then the first convolution."""
    fit = fit_relative([block_sample(block) for block in blocks])
    costs = fit.costs
    stem = fit_relative([_stem_sample(timed, costs) for timed in stems])
    overhead = {"overhead_ms": costs["overhead_ms"]}
    return {
        "source": "mit-han-lab/once-for-all @ 698a5c1, tutorial/checkpoints/latency_table@note10 (MIT)",
        "held_out": "each triple of input and output channels and stride; each resolution of the first convolution",
        "models": [
            _entry("conv", [1], BOTH_STRIDES, {**overhead, "ms_per_mmac": costs["conv"]}, fit),
            _entry("conv", [3], BOTH_STRIDES, {**overhead, **stem.costs}, stem),
            *(
                _entry("depthwise", [kernel], [stride], {**overhead, "ms_per_mmac": costs[f"{kernel}/{stride}"]}, fit)
                for stride in BOTH_STRIDES
                for kernel in KERNELS
            ),
        ],
        "fitted_out": {name: significant(costs[name]) for name in _FITTED_OUT},
    }


_FITTED_OUT = ("ms_per_mhswish", "ms_per_mrescaled", "ms_per_msqueeze_weight")


def block_sample(block: TimedBlock) -> Sample:
    """Return what an inverted bottleneck does, in millions: MACs by class, and what LitePose's blocks do not have."""
    dw = block.depthwise
    squeezed = max(8, (dw.out_channels // 4 + 4) // 8 * 8)
    amounts = {
        "overhead_ms": len(block.convolutions),
        "conv": sum(c.macs for c in block.convolutions if c.kind == "conv") / 1e6,
        f"{dw.kernel}/{block.stride}": dw.macs / 1e6,
        "ms_per_mhswish": block.hard_swish * sum(map(_outputs, block.convolutions[:-1])) / 1e6,
        "ms_per_mrescaled": block.squeeze_excitation * _outputs(dw) / 1e6,
        "ms_per_msqueeze_weight": block.squeeze_excitation * 2 * dw.out_channels * squeezed / 1e6,
    }
    return Sample(block.ms, amounts, f"{block.in_channels}-{block.convolutions[-1].out_channels}-{block.stride}")


def _stem_sample(timed: TimedConvolution, costs: Mapping[str, float]) -> Sample:
    """Take overhead and hard swish, whose costs the blocks give, off a first convolution."""
    known = costs["overhead_ms"] + costs["ms_per_mhswish"] * _outputs(timed.convolution) / 1e6
    return Sample(timed.ms - known, {"ms_per_mmac": timed.convolution.macs / 1e6}, str(timed.convolution.in_size))


def _channels(convolution: Convolution) -> str:
    return f"{convolution.in_channels}-{convolution.out_channels}"


def _outputs(convolution: Convolution) -> int:
    return convolution.out_channels * convolution.out_size**2


def _entry(
    kind: str, kernels: Sequence[int], strides: Sequence[int], costs: Mapping[str, float], fit: Regression
) -> dict[str, Any]:
    return {
        "kind": kind,
        "kernels": list(kernels),
        "strides": list(strides),
        **{name: significant(cost) for name, cost in costs.items() if cost > 0},
        "mape": round(fit.held_out_mape, 4),
        "fit_mape": round(fit.fit_mape, 4),
        "samples": fit.samples,
        "groups": fit.groups,
    }
