"""The class models of every device, fitted anew to the public measurements.

    python benchmarks/class_models/refit.py DATA benchmarks/class_models/class_models.yaml

``DATA`` holds the CSVs that ``public_data`` reads.

A model of ``class_models.yaml`` holds for one kind of convolution and some kernels and strides; its costs are those of
``amounts_of``, and an absent one is 0. ``mape`` is its mean absolute relative error on the groups held out in
turn, ``fit_mape`` on its own samples. ``fitted_out`` are costs of parts that no LitePose has: hard swish (per 10^6
elements) and squeeze-and-excitation (per 10^6 rescaled elements and per 10^6 weights). ``map_tile`` is the side of the
tiles that maps are rounded up to, 1 if absent.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import public_data
import yaml
from block_ratios import block_sample, depthwise_ratio, expansion_ratio, outputs
from calibrate import depthwise_ratios, uncalibrated_model
from public_data import TimedBlock, TimedConvolution
from regression import Regression, Sample, fit_relative

from litepose_ofa.latency_tables.estimation import amounts_of, tiled
from litepose_ofa.latency_tables.rows import significant
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


def _stem_sample(timed: TimedConvolution, costs: Mapping[str, float]) -> Sample:
    """Take overhead and hard swish, whose costs the blocks give, off a first convolution."""
    known = costs["overhead_ms"] + costs["ms_per_mhswish"] * outputs(timed.convolution) / 1e6
    return Sample(timed.ms - known, {"ms_per_mmac": timed.convolution.macs / 1e6}, str(timed.convolution.in_size))


def _channels(convolution: Convolution) -> str:
    return f"{convolution.in_channels}-{convolution.out_channels}"


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


def format_class_models(class_models: Mapping[str, Any]) -> str:
    """Lay out, as text, what each class model was fitted to and its error on what was held out."""
    lines = [f"{'fitted on':12} {'convolutions':43} {'measurements':>12} {'groups':>6} {'fit':>7} {'held out':>8}"]
    for name, fitted in class_models.items():
        for item in fitted["models"]:
            what = f"{item['kind']}, kernels {item['kernels']}, strides {item['strides']}"
            counts = f"{item['samples']:12d} {item['groups']:6d}"
            lines.append(f"{name:12} {what:43} {counts} {item['fit_mape']:7.1%} {item['mape']:8.1%}")
    return "\n".join(lines)


def format_block_checks(folder: Path, class_models: Mapping[str, Any]) -> str:
    """Lay out, as text, what kernels and expansions cost in the measured blocks of a folder and in the models."""
    pi, a76 = (uncalibrated_model(device, class_models) for device in ("raspberry_pi_4b", "snapdragon_855_cpu"))
    on_pi, on_a76 = (
        public_data.pi_blocks(folder),
        [block for block in public_data.cortex_a76_blocks(folder) if block.is_plain],
    )
    measured, ours = depthwise_ratio(on_pi, larger=5, smaller=3), depthwise_ratios(class_models)[5, 1]
    checks = [
        ("Raspberry Pi 4", expansion_ratio(on_pi, pi, larger=larger, smaller=smaller), larger, smaller)
        for larger, smaller in ((3, 1), (6, 3))
    ] + [("Cortex-A76", expansion_ratio(on_a76, a76, larger=larger, smaller=3), larger, 3) for larger in (4, 6)]
    return "\n".join(
        [
            "costs of measured blocks against those of the models:",
            f"Raspberry Pi 4: depthwise kernel 5 over 3 {measured:.2f}, here {ours:.2f}",
            *(
                f"{where}: expansion {larger} over {smaller} {check.measured:.2f}, here {check.estimated:.2f} "
                f"(median of {check.pairs} pairs)"
                for where, check, larger, smaller in checks
            ),
        ]
    )


def main() -> None:
    """Refit, write, and print the errors and how measured blocks compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    class_models = refit_class_models(arguments.data)
    text = yaml.safe_dump(class_models, sort_keys=False, width=120)
    header = "# Written by benchmarks/class_models/refit.py, where the fields are explained.\n"
    write_text(arguments.output, header + text)
    print(format_class_models(class_models))
    print(format_block_checks(arguments.data, class_models))


if __name__ == "__main__":
    main()
