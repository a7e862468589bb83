"""From a kit to a table and its validation, by the scripts; the board is invented: a million MACs take 0.03 ms."""

import json
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.kit import Manifest, write_kit
from litepose_ofa.latency_tables.profiling.measurements import COLUMNS
from litepose_ofa.latency_tables.profiling.plan import make_plan
from litepose_ofa.latency_tables.profiling.subjects import OperatorChain, WholeNetwork
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace

FACTS = {
    "threads": 1,
    "started": "2026-01-02T03:04:05Z",
    **dict.fromkeys(("machine", "processor", "clocks", "runtime", "runtime_version", "precision"), "invented"),
}
CALL_MS, CONSTANT_MS, SCALE = 0.02, 0.2, 1.1


def model_ms(subject: object) -> float:
    if isinstance(subject, OperatorChain):
        return CALL_MS + subject.copies * 0.03 * subject.operator.macs / 1e6
    if isinstance(subject, WholeNetwork):
        return CONSTANT_MS + SCALE * 0.03 * sum(o.macs for o in operators_of(subject.arch, subject.num_keypoints)) / 1e6
    return CALL_MS


def measure(kit: Path) -> None:
    """Write what the board would."""
    manifest = Manifest.load(kit)
    lines = ["# " + json.dumps({**FACTS, "kit": manifest.kit}), ",".join(COLUMNS)]
    for subject in manifest.plan.subjects:
        ms = f"{model_ms(subject):.6f}"
        lines.append(f"1,{subject.id},round,50,{ms},{ms},{ms},0.0,1.0,,,0")
    (kit / "measurements.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def kit(workspace: Path) -> Path:
    """A measured kit of a sample of `tiny`."""
    plan = make_plan([SearchSpace.preset("tiny")], sample=0.1, networks=6)
    write_kit(workspace / "kit", plan, "onnxruntime")
    measure(workspace / "kit")
    return workspace / "kit"


@pytest.fixture(scope="module")
def table(workspace: Path, kit: Path, start_script: Any) -> Path:
    """The table of the kit, the rest of the space fitted."""
    where = (f"output={workspace / 'tables'}", f"workspace={workspace}")
    start_script("build_table", f"kit={kit}", "name=board", "spaces=[tiny]", *where)
    return workspace / "tables" / "board.csv"


def test_the_table_serves_the_space(table: Path, workspace: Path) -> None:
    (log,) = (workspace / "latency_tables").glob("build_table*.log")
    assert "302 operators, measured" in log.read_text()
    assert "rows fitted, not measured: MAPE" in log.read_text()
    loaded = LatencyTable.load(table)
    tiny = SearchSpace.preset("tiny")
    assert loaded.rows.keys() == space_operators(tiny)
    assert loaded.metadata.network_scale == pytest.approx(SCALE, abs=0.02)
    answer = loaded.estimate(tiny.largest())
    assert answer.ms == pytest.approx(model_ms(WholeNetwork(tiny.largest(), 14)), rel=0.05)
    assert 0 < answer.unmeasured < len(operators_of(tiny.largest()))


def test_it_is_validated_on_networks_that_it_has_not_seen(workspace: Path, table: Path, run_script: Any) -> None:
    check = workspace / "check"
    export = ("sample=0", "networks=8", "seed=1", f"output={check}", f"workspace={workspace}")
    assert run_script("profile", *export).status == 0
    measure(check)
    where = (f"table={table}", f"kit={check}", f"workspace={workspace}")
    printed = run_script("validate_table", *where, "record=true").printed
    assert "measurements                    8" in printed  # smallest and largest were fitted on
    record = json.loads((workspace / "latency_tables" / "board.json").read_text())
    (report,) = record["runs"]
    assert report["fitted_networks_left_out"] == 2
    assert report["mape"] < 0.05
    assert LatencyTable.load(table).metadata.interval_coverage == report["inside_80_percent_interval"]
    assert (workspace / "latency_tables" / "board.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_kit_or_with_the_fitted_networks_alone_it_says_what_the_table_covers(
    table: Path, kit: Path, workspace: Path, run_script: Any
) -> None:
    where = (f"table={table}", f"workspace={workspace}")
    assert "left out networks: 8, MAPE" in run_script("validate_table", *where).printed
    told = run_script("validate_table", f"kit={kit}", *where).refusal
    assert "measurements: has 0 networks that the table of board was not fitted on" in told


def test_a_table_is_not_overwritten_but_extended(table: Path, kit: Path, workspace: Path, run_script: Any) -> None:
    build = ("build_table", f"kit={kit}", "name=board", f"output={table.parent}", f"workspace={workspace}")
    assert "is there already; extend=true adds" in run_script(*build).refusal
    assert "nowhere.csv: no such file" in run_script(*build, "name=other", "measurements=nowhere.csv").refusal
    before = LatencyTable.load(table).rows
    assert run_script(*build, "extend=true").status == 0
    after = LatencyTable.load(table).rows
    assert after.keys() == before.keys()
    assert all(after[one] == row for one, row in before.items() if row.samples)
    assert all(after[one].ms == pytest.approx(row.ms, rel=2e-3) for one, row in before.items()), "four digits are kept"


def test_profile_writes_a_kit_and_says_how_to_run_it(run_script: Any, tmp_path: Path) -> None:
    overrides = ("sample=0.02", "networks=2", "num_keypoints=[17]", f"workspace={tmp_path}")
    printed = run_script("profile", *overrides).printed
    manifest = Manifest.load(tmp_path / "profiling_kits" / "onnxruntime")
    networks = [subject for subject in manifest.plan.subjects if isinstance(subject, WholeNetwork)]
    assert [network.num_keypoints for network in networks] == [17] * 4
    assert f"kit {manifest.kit}, 27 of 302 operators, {len(manifest.plan.subjects)} models" in printed
    assert "python profile_board.py" in printed


def test_profile_leaves_out_what_a_table_has(run_script: Any, tmp_path: Path) -> None:
    table = LatencyTable.load("raspberry_pi_4b")
    tiny = space_operators(SearchSpace.preset("tiny"), 14)
    rows = {operator: row for operator, row in table.rows.items() if operator in tiny}
    lacking = sorted(rows, key=lambda operator: operator.macs)[:5]
    for operator in lacking:
        del rows[operator]
    LatencyTable(table.metadata, rows).save(tmp_path / "board.csv")
    overrides = (f"table={tmp_path / 'board.csv'}", f"output={tmp_path / 'kit'}", f"workspace={tmp_path}", "networks=0")
    assert run_script("profile", *overrides).status == 0
    subjects = Manifest.load(tmp_path / "kit").plan.subjects
    assert {subject.operator for subject in subjects if isinstance(subject, OperatorChain)} == set(lacking)
