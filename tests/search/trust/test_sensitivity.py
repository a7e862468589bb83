"""One dimension at a time: what varies and what does not, what is measured, table and picture."""

import dataclasses
from collections.abc import Callable
from itertools import groupby

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.trust.sensitivity import Variation, format_sensitivity, measure_sensitivity, sensitivity_archs
from litepose_ofa.supernet.archs.arch import Arch, BlockArch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.published import KERNEL_ABLATION_AP
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY = SearchSpace.preset("tiny")
LITEPOSE = SearchSpace.preset("litepose")


def described(arch: Arch) -> dict[str, object]:
    """Every dimension of an architecture by its name; kernels and expansions of all blocks."""
    values: dict[str, object] = {"resolution": arch.image_size, "stem width": arch.stem_channels}
    for s, stage in enumerate(arch.stages, start=1):
        values |= {f"depth of stage {s}": len(stage.blocks), f"width of stage {s}": stage.channels}
    values |= {f"deconv width {i}": width for i, width in enumerate(arch.deconv_channels, start=1)}
    for field in ("kernel", "expansion"):
        found = {getattr(block, field) for stage in arch.stages for block in stage.blocks}
        values[field] = found.pop() if len(found) == 1 else "mixed"
    return values


def by_dimension(variations: list[Variation]) -> dict[str, list[Variation]]:
    return {name: list(group) for name, group in groupby(variations, key=lambda variation: variation.dimension)}


def bases(space: SearchSpace) -> st.SearchStrategy[Arch]:
    codec = GenomeCodec(space)
    genes = st.tuples(*(st.integers(0, int(c) - 1) for c in codec.cardinalities))
    return genes.map(codec.decode)


@given(base=st.one_of(bases(TINY), bases(LITEPOSE)))
@settings(max_examples=40, deadline=None)
def test_only_the_named_dimension_differs(base: Arch) -> None:
    space = TINY if TINY.contains(base) else LITEPOSE
    of_base = described(base)
    for dimension, group in by_dimension(sensitivity_archs(space, base)).items():
        assert len({variation.arch for variation in group}) == len(group)
        assert [variation.arch for variation in group if variation.is_base] == [base]
        for variation in group:
            assert space.contains(variation.arch)
            of_arch = described(variation.arch)
            assert of_arch[dimension] == variation.value
            depth_of_mixed = dimension.startswith("depth") and "mixed" in (of_base["kernel"], of_base["expansion"])
            unchecked = {dimension, *(("kernel", "expansion") if depth_of_mixed else ())}
            assert {k: v for k, v in of_arch.items() if k not in unchecked} == {
                k: v for k, v in of_base.items() if k not in unchecked
            }


def test_dimensions_of_the_presets() -> None:
    tiny = by_dimension(sensitivity_archs(TINY, TINY.largest()))
    stages = range(1, 5)
    per_stage = [f"depth of stage {s}" for s in stages] + [f"width of stage {s}" for s in stages]
    deconvs = [f"deconv width {i}" for i in range(1, 4)]
    assert list(tiny) == ["resolution", "kernel", "expansion", *per_stage, *deconvs]
    assert [v.value for v in tiny["kernel"]] == [3, 5, 7]
    full = by_dimension(sensitivity_archs(LITEPOSE, LITEPOSE.smallest()))
    assert list(full) == ["resolution", "kernel", "expansion", "stem width", *per_stage, *deconvs]
    assert [v.value for v in full["depth of stage 3"]] == [4, 6, 8, 10]
    assert [v.is_base for v in full["depth of stage 3"]] == [True, False, False, False]


@pytest.mark.parametrize("space", [TINY, LITEPOSE], ids=lambda space: space.name)
def test_no_choice_is_forgotten(space: SearchSpace) -> None:
    """From the smallest architecture, whatever offers a choice reaches its largest value in some variation."""
    archs = [v.arch.chosen for v in sensitivity_archs(space, space.smallest())]
    for name, values in space.choices.items():
        if name in space.smallest().chosen:
            assert {chosen[name] for chosen in archs} == set(values), name


def test_a_deeper_stage_repeats_its_last_block_and_a_shallower_one_drops_it() -> None:
    space = LITEPOSE
    largest = space.largest()
    blocks = (BlockArch(3, 3), BlockArch(4, 5), BlockArch(6, 7), BlockArch(3, 5))
    stage = dataclasses.replace(largest.stages[0], blocks=blocks)
    base = dataclasses.replace(largest, stages=(stage, *largest.stages[1:]))
    archs = {v.value: v.arch for v in sensitivity_archs(space, base) if v.dimension == "depth of stage 1"}
    assert archs[2].stages[0].blocks == blocks[:2]
    assert archs[4] == base
    assert archs[6].stages[0].blocks == (*blocks, blocks[-1], blocks[-1])


def test_a_mixed_base_stays_once_in_the_dimension(small_space: SearchSpace) -> None:
    """Stages that do not offer a kernel keep theirs: 5 and 7 give the base again."""
    base = small_space.largest()
    kernels = [v for v in sensitivity_archs(small_space, base) if v.dimension == "kernel"]
    assert [(v.value, v.is_base) for v in kernels] == [(3, False), ("mixed", True)]
    assert [stage.blocks[0].kernel for stage in kernels[0].arch.stages] == [3, 3, 5, 3]


def synthetic_ap(arch: Arch) -> float:
    return 0.2 + measure_complexity(arch).macs / 1e8 + 0.02 * arch.stages[0].blocks[0].kernel


@pytest.fixture(scope="module")
def frame(make_table: Callable[[SearchSpace], LatencyTable]) -> pd.DataFrame:
    tables = {"board": make_table(TINY), "raspberry_pi_4b": LatencyTable.load("raspberry_pi_4b")}
    return measure_sensitivity(sensitivity_archs(TINY, TINY.largest()), synthetic_ap, tables)


def test_rows_hold_what_was_measured(frame: pd.DataFrame, make_table: Callable[[SearchSpace], LatencyTable]) -> None:
    variations = sensitivity_archs(TINY, TINY.largest())
    table = make_table(TINY)
    assert len(frame) == len(variations)
    for row, variation in zip(frame.to_dict("records"), variations, strict=True):
        complexity, estimate = measure_complexity(variation.arch), table.estimate(variation.arch)
        assert (row["dimension"], row["value"]) == (variation.dimension, variation.value)
        assert row["ap"] == synthetic_ap(variation.arch)
        assert (row["macs"], row["params"]) == (complexity.macs, complexity.params)
        assert (row["latency_ms/board"], row["latency_provenance/board"]) == (estimate.ms, "measured")
        assert row["latency_provenance/raspberry_pi_4b"] == "calibrated-estimate"
        assert row["arch_digest"] == variation.arch.digest


def test_each_architecture_is_measured_once() -> None:
    variations = sensitivity_archs(TINY, TINY.largest())
    measured: list[Arch] = []
    done: list[int] = []
    measure_sensitivity(variations, lambda arch: measured.append(arch) or 0.5, {}, on_progress=done.append)
    assert len(measured) == len(set(measured)) == len({v.arch for v in variations}) < len(variations)
    assert sum(done) == len(measured)


def test_a_missing_row_shows_before_anything_is_measured(make_table: Callable[[SearchSpace], LatencyTable]) -> None:
    variations = sensitivity_archs(LITEPOSE, LITEPOSE.largest())
    with pytest.raises(InputError, match="has no row for"):
        measure_sensitivity(variations, lambda arch: pytest.fail("measured"), {"board": make_table(TINY)})


def test_the_text_shows_rows_and_the_published_ablation(frame: pd.DataFrame) -> None:
    text = format_sensitivity(frame)
    lines = text.splitlines()
    base = frame[frame["is_base"]].iloc[0]
    kernel_rows = [line.split() for line in lines if line.startswith("kernel ")]
    assert [row[1] for row in kernel_rows] == ["3", "5", "7*"]
    row = frame[(frame["dimension"] == "kernel") & (frame["value"] == 3)].iloc[0]
    assert kernel_rows[0][2:4] == [f"{100 * row['ap']:.1f}", f"{100 * (row['ap'] - base['ap']):+.1f}"]
    assert kernel_rows[0][-2] == f"{row['latency_ms/board']:.4g}"
    assert kernel_rows[0][-1] == f"~{row['latency_ms/raspberry_pi_4b']:.4g}"
    published = [line.split() for line in lines if line.startswith("  published")]
    assert published[0] == ["published", "3", "41.7", "-13.0"]
    assert [row[1] for row in published] == [str(kernel) for kernel in KERNEL_ABLATION_AP]
