"""Tables of a board whose true costs are known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.building import _conformal, build_table, extend_table
from litepose_ofa.latency_tables.profiling.validation import validate
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY = SearchSpace.preset("tiny")
RNG = np.random.default_rng


def test_a_table_predicts_networks_that_it_has_not_seen(simulated: Any, tmp_path: Path) -> None:
    measured = simulated.measure(TINY, simulated.sample_archs(TINY, 20, 0), noise=0.01, network_noise=0.01)
    build_table(measured, device="board", rng=RNG(0)).save(tmp_path / "board")
    table = LatencyTable.load(tmp_path / "board.csv")
    meta = table.metadata
    assert (meta.device, meta.provenance, meta.threads, meta.precision) == ("board", "measured", 1, "float32")
    assert (meta.runtime, meta.date) == ("fake 1", "2026-01-02")
    assert meta.fit_errors.keys() == meta.validation_errors.keys() == {arch.digest for arch in measured.networks}
    for arch in simulated.sample_archs(TINY, 50, 1):
        assert table.estimate(arch).ms == pytest.approx(simulated.network_ms(arch), rel=0.05)
        assert table.estimate(arch).unmeasured == 0


@pytest.mark.parametrize(("network_noise", "most"), [(0.01, 1.0), (0.05, 0.9)])
def test_eight_of_ten_unseen_networks_are_inside_the_interval(
    simulated: Any, network_noise: float, most: float
) -> None:
    """Where the operators' noise is the greater, the interval is too wide: their shared errors count as independent."""
    shares = []
    for seed in range(4):
        archs, unseen = simulated.sample_archs(TINY, 40, seed), simulated.sample_archs(TINY, 100, 10 + seed)
        measured = simulated.measure(TINY, archs, noise=0.02, network_noise=network_noise, seed=seed)
        table = build_table(measured, device="board", rng=RNG(0))
        networks = simulated.measure(TINY, unseen, network_noise=network_noise, seed=20 + seed).networks
        shares.append(validate(table, networks, num_keypoints=14).inside)
    assert 0.74 <= np.mean(shares) <= most


@pytest.mark.parametrize("networks", [4, 5, 8, 20])
def test_what_networks_need_holds_eight_of_ten_others(networks: int) -> None:
    needed = np.abs(np.random.default_rng(0).normal(size=(8000, networks + 1)))
    inside = [new <= _conformal(known) for *known, new in needed]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.025)


def test_too_few_networks_and_untimed_operators_make_no_table(simulated: Any) -> None:
    with pytest.raises(InputError, match="timed 3 whole networks; a table needs at least 4"):
        build_table(simulated.measure(TINY, simulated.sample_archs(TINY, 3, 0)), device="board", rng=RNG(0))
    measured = simulated.measure(TINY, simulated.sample_archs(TINY, 5, 0), chosen=lambda o: o.kind != "head")
    with pytest.raises(InputError, match=r"runs Operator\(.*which was not timed; name its space"):
        build_table(measured, device="board", rng=RNG(0))


def test_a_table_is_extended_by_another_run(simulated: Any) -> None:
    archs = simulated.sample_archs(TINY, 10, 0)
    whole = simulated.measure(TINY, archs)
    table = build_table(whole, device="board", rng=RNG(0))
    half = LatencyTable(table.metadata, dict(list(table.rows.items())[::2]))
    extended = extend_table(half, whole, rng=RNG(0))
    assert dict(extended.rows) == dict(table.rows)
    assert extended.metadata.network_scale == table.metadata.network_scale
    assert len(extended.metadata.sources) == 2


def test_fitted_rows_carry_the_error_that_whole_networks_show(simulated: Any) -> None:
    """The regression errs by a common 20 % here: networks of many fitted rows show it, single rows do not."""
    wanted, archs = space_operators(TINY), simulated.sample_archs(TINY, 60, 0)
    table = build_table(simulated.measure(TINY, archs[:20]), device="board", wanted=wanted, rng=RNG(0))
    half = {o: row for o, row in table.rows.items() if o.kernel != 7 or o.stride == 1 or o.mid_channels % 3 == 0}
    measured = simulated.measure(TINY, archs[20:], chosen=half.__contains__)
    slower = {arch: replace(timing, ms=1.2 * timing.ms) for arch, timing in measured.networks.items()}
    run = replace(measured, networks=slower)
    extended = extend_table(LatencyTable(table.metadata, half), run, wanted=wanted, rng=RNG(0))
    fitted = [arch for arch in slower if table.estimate(arch).unmeasured < extended.estimate(arch).unmeasured]
    report = validate(extended, {arch: slower[arch] for arch in fitted}, num_keypoints=14)
    assert report.inside >= 0.7
    assert report.mape > 0.1


def test_runs_of_other_settings_do_not_mix(simulated: Any) -> None:
    measured = simulated.measure(TINY, simulated.sample_archs(TINY, 10, 0))
    table = build_table(measured, device="board", rng=RNG(0))
    other = replace(measured, facts={**measured.facts, "threads": 4})
    with pytest.raises(InputError, match="measured with threads 1, this run with 4"):
        extend_table(table, other, rng=RNG(0))
    estimate = table.with_metadata(provenance="calibrated-estimate")
    with pytest.raises(InputError, match="is an estimate; measured rows do not belong into it"):
        extend_table(estimate, measured, rng=RNG(0))
