"""Sensitivity: AP and costs as each dimension alone goes from smallest to largest."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from litepose_ofa.latency_tables.table import LatencyTable
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.published import KERNEL_ABLATION_AP
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

MIXED = "mixed"
"""Value of the base architecture in a dimension where its blocks differ."""


@dataclass(frozen=True, slots=True)
class Variation:
    """The base architecture with one dimension changed.

    Attributes:
        dimension: ``resolution``, ``kernel``, ``expansion`` (of all blocks), ``stem width``, ``depth of stage 1`` to 4,
            ``width of stage 1`` to 4, or ``deconv width 1`` to 3.
        value: The dimension's value; ``mixed`` for a base whose blocks differ in it.
        arch: The architecture.
        is_base: Whether it is the base itself.
    """

    dimension: str
    value: int | str
    arch: Arch
    is_base: bool


def sensitivity_archs(space: SearchSpace, base: Arch) -> list[Variation]:
    """Vary each dimension alone over all its choices, values ascending, the others staying at the base architecture.

    A stage that gets deeper than the base's repeats its last block; one that gets shallower drops its last blocks. A
    kernel or expansion goes to all blocks; where stages have different choices, to those of the stages that offer it.
    A dimension without a choice is left out; the base is there once in each of the others.

    Example:
        >>> space = SearchSpace.preset("tiny")
        >>> [v.value for v in sensitivity_archs(space, space.largest()) if v.dimension == "kernel"]
        [3, 5, 7]
    """
    if not space.contains(base):
        raise InputError(f"architecture {base.digest} is not in space {space.name!r}")
    variations = []
    for dimension, names in _dimensions(space):
        values = _varied(space, base, names)
        if len(values) > 1:
            found = [Variation(dimension, value, arch, arch == base) for arch, value in values.items()]
            variations += sorted(found, key=lambda v: (isinstance(v.value, str), v.value))
    if not variations:
        raise InputError(f"space {space.name!r} has one architecture; nothing in it can vary")
    return variations


def measure_sensitivity(
    variations: Sequence[Variation],
    measure: Callable[[Arch], float],
    tables: Mapping[str, LatencyTable],
    num_keypoints: int = 14,
    *,
    on_progress: Callable[[int], object] = lambda measured: None,
) -> pd.DataFrame:
    """Measure the AP in [0, 1] of every distinct architecture once; latencies come from tables, by the device's name.

    Returns:
        One row a variation: ``dimension``, ``value``, ``is_base``, ``ap``, ``macs``, ``params``,
        ``latency_ms/<device>`` and ``latency_provenance/<device>`` for every table, ``arch_digest``.

    Raises:
        InputError: If a table lacks an operator, which shows before anything is measured.
    """
    costs = {v.arch: _costs(v.arch, tables, num_keypoints) for v in variations}
    aps = {}
    for arch in costs:
        aps[arch] = measure(arch)
        on_progress(1)
    return pd.DataFrame(
        {
            "dimension": v.dimension,
            "value": v.value,
            "is_base": v.is_base,
            "ap": aps[v.arch],
            **costs[v.arch],
            "arch_digest": v.arch.digest,
        }
        for v in variations
    )


def format_sensitivity(frame: pd.DataFrame) -> str:
    """Return the table for a terminal, the published kernel ablation beside the kernel rows."""
    devices = sensitivity_devices(frame)
    base = frame[frame["is_base"]].iloc[0]
    heads = "".join(f"  {f'ms {device}':>20}" for device in devices)
    lines = [f"{'dimension':<17}  {'value':>6}  {'AP':>5}  {'change':>6}  {'MMACs':>8}  {'params':>10}{heads}"]
    for dimension, rows in frame.groupby("dimension", sort=False):
        for row in rows.to_dict("records"):
            marks = ["~" if row[f"latency_provenance/{device}"] != "measured" else "" for device in devices]
            latencies = "".join(
                f"  {mark + format(row[f'latency_ms/{device}'], '.4g'):>20}"
                for mark, device in zip(marks, devices, strict=True)
            )
            value = f"{row['value']}{'*' if row['is_base'] else ' '}"
            lines.append(
                f"{dimension:<17}  {value:>6}  {100 * row['ap']:>5.1f}  {100 * (row['ap'] - base['ap']):>+6.1f}  "
                f"{row['macs'] / 1e6:>8.1f}  {row['params']:>10,}{latencies}"
            )
        if dimension == "kernel":
            lines += _published_lines(rows.loc[rows["is_base"], "value"].iloc[0])
    legend = [
        "* the base architecture: in every other row the named dimension alone is changed. One supernet, its weights",
        "shared, BN recalibrated for each row; AP in points on this run's evaluation data.",
    ]
    if any((frame[f"latency_provenance/{device}"] != "measured").any() for device in devices):
        legend.append("~ estimated, not measured.")
    if "kernel" in set(frame["dimension"]):
        legend.append(
            "published: LitePose paper, CrowdPose, each kernel's network trained separately: compare the trend, not"
        )
        legend.append("the level.")
    return "\n".join([*lines, "", *legend])


def sensitivity_devices(frame: pd.DataFrame) -> list[str]:
    """Return the devices whose latencies a frame holds, in order."""
    prefix = "latency_ms/"
    return [name.removeprefix(prefix) for name in frame.columns if name.startswith(prefix)]


def published_kernel_changes(kernel: int | str) -> dict[int, float]:
    """Return the published AP of every kernel minus that of ``kernel``; nothing if that was not published."""
    reference = next((ap for published, ap in KERNEL_ABLATION_AP.items() if published == kernel), None)
    return {} if reference is None else {k: ap - reference for k, ap in KERNEL_ABLATION_AP.items()}


def _published_lines(base_kernel: int | str) -> list[str]:
    changes = published_kernel_changes(base_kernel)
    return [
        f"{'  published':<17}  {f'{k} ':>6}  {100 * ap:>5.1f}" + (f"  {100 * changes[k]:>+6.1f}" if changes else "")
        for k, ap in KERNEL_ABLATION_AP.items()
    ]


def _costs(arch: Arch, tables: Mapping[str, LatencyTable], num_keypoints: int) -> dict[str, float | str]:
    complexity = measure_complexity(arch, num_keypoints)
    costs: dict[str, float | str] = {"macs": complexity.macs, "params": complexity.params}
    for device, table in tables.items():
        estimate = table.estimate(arch, num_keypoints)
        costs |= {f"latency_ms/{device}": estimate.ms, f"latency_provenance/{device}": estimate.provenance}
    return costs


def _dimensions(space: SearchSpace) -> Iterator[tuple[str, list[str]]]:
    """Yield every dimension and the names of its choices."""
    stages, deconvs = range(len(space.stages)), range(len(space.deconv_channels))
    yield "resolution", ["image_size"]
    for field in ("kernel", "expansion"):
        yield field, [name for name in space.choices if ".block" in name and name.endswith(field)]
    yield "stem width", ["stem"]
    yield from ((f"depth of stage {s + 1}", [f"stage{s}.depth"]) for s in stages)
    yield from ((f"width of stage {s + 1}", [f"stage{s}.width"]) for s in stages)
    yield from ((f"deconv width {i + 1}", [f"deconv{i}"]) for i in deconvs)


def _varied(space: SearchSpace, base: Arch, names: Collection[str]) -> dict[Arch, int | str]:
    """Return the architectures that differ from the base in these choices alone, and the base, with their values."""
    found = {value for name, value in base.chosen.items() if name in names}
    offered = {value for name in names for value in space.choices[name]}
    archs = {_with_value(space, base, names, value): value for value in sorted(offered)}
    return archs | {base: found.pop() if len(found) == 1 else MIXED}


def _with_value(space: SearchSpace, base: Arch, names: Collection[str], value: int) -> Arch:
    """Return the base with a value in those of these choices that offer it."""
    deepest = (
        replace(stage, blocks=(stage.blocks + stage.blocks[-1:] * choices.depths[-1])[: choices.depths[-1]])
        for stage, choices in zip(base.stages, space.stages, strict=True)
    )
    chosen = replace(base, stages=tuple(deepest)).chosen | base.chosen
    return space.assemble(lambda name, offered: value if name in names and value in offered else chosen[name])
