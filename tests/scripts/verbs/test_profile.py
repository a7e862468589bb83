"""The script that writes a profiling kit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import space_operators
from litepose_ofa.latency_tables.profiling.kit import Manifest
from litepose_ofa.latency_tables.profiling.subjects import OperatorChain, WholeNetwork
from litepose_ofa.supernet.archs.space import SearchSpace

RunScript = Callable[..., Any]


def test_writes_a_kit_and_says_how_to_run_it(run_script: RunScript, tmp_path: Path) -> None:
    overrides = ("sample=0.02", "networks=2", "num_keypoints=[17]", f"workspace={tmp_path}")
    outcome = run_script("profile", *overrides)
    assert outcome.status == 0, outcome.stderr
    manifest = Manifest.load(tmp_path / "profiling_kits" / "onnxruntime")
    subjects = manifest.plan.subjects
    networks = [subject for subject in subjects if isinstance(subject, WholeNetwork)]
    assert {network.num_keypoints for network in networks} == {17}
    assert len(networks) == 4
    said = f"kit {manifest.kit}, 27 of 302 operators, {len(subjects)} models"
    assert said in outcome.stdout
    assert "python profile_board.py" in outcome.stdout


def test_leaves_out_what_a_table_has(run_script: RunScript, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("runtime=tvm", "unknown runtime 'tvm'; known: "),
        ("spaces=[huge]", "space is 'huge'; it must be one of litepose, litepose_released, tiny"),
        ("num_keypoints=[0]", "num_keypoints is [0]; it must be a list of at least 1 integers from 1 to 1000"),
        ("sample=2", "sample is 2; it must be a number from 0 to 1, or null"),
        ("table=toaster", "unknown latency table 'toaster'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(override: str, message: str, run_script: RunScript, tmp_path: Path) -> None:
    outcome = run_script("profile", override, f"workspace={tmp_path}", f"output={tmp_path / 'kit'}")
    assert outcome.status == 2
    assert outcome.stderr.startswith("error: ")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not (tmp_path / "kit").exists()
