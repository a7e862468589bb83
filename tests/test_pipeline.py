"""The whole job at its smallest: every script after the other, on files, as `make demo` runs them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.supernet.archs.arch import Arch

ROOT = Path(__file__).parents[1]
DEVICES = ("jetson_nano", "raspberry_pi_4b")
TIERS = ("xs", "l")
SMALL_TRAINING = ("training.steps=30", "training.checkpoint_every=10")
SMALL_SEARCH = ("search.first=16", "search.batch=16", "search.generations=2", "search.verify_top=1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    sweep = ("--multirun", f"device={','.join(DEVICES)}", f"tier={','.join(TIERS)}")
    run(folder, "generate-people", "images.train=48", "images.search=12", "images.val=12", "workers=1")
    run(folder, "train", *SMALL_TRAINING)
    run(folder, "sample", "num_subnets=10")
    run(folder, "fit")
    run(folder, "search", *sweep, *SMALL_SEARCH)
    run(folder, "export", *sweep)
    return folder


def run(folder: Path, name: str, *overrides: str) -> str:
    command = [sys.executable, "-m", "litepose_ofa", name, *overrides]
    places = [f"data_root={folder / 'data'}", f"workspace={folder / 'run'}"]
    done = subprocess.run([*command, *places], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_report_has_a_row_a_device_and_tier(workspace: Path) -> None:
    printed = run(workspace, "report")
    summary = pd.read_csv(workspace / "run" / "report" / "summary.csv")
    assert [*zip(summary["device"], summary["tier"], strict=True)] == [(d, t) for d in DEVICES for t in TIERS]
    assert summary["bit_equal"].all()
    assert (summary["onnx_max_abs_difference"] <= 1e-4).all()
    assert (summary["latency_ms"] <= summary["budget_ms"]).all()
    assert summary["ap_val"].between(0, 1).all()
    assert all(f"{row.device}/{row.tier}" in printed for row in summary.itertuples())
    assert "estimated, not measured" in printed
    front = pd.read_csv(workspace / "run" / "report" / "front.csv")
    assert {"device", "tier", "ap", "latency_ms", "latency_provenance"} <= set(front.columns)
    assert (workspace / "run" / "report" / "front.png").stat().st_size > 10_000


def test_a_changed_table_is_not_reported_with_the_old_latency(workspace: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy)
    shipped = LatencyTable.load("jetson_nano")
    scale = 1.5 * shipped.metadata.network_scale
    shipped.with_metadata(network_scale=scale).save(copy / "slower")
    table = f"device.table={copy / 'slower.csv'}"
    cell = ("device=jetson_nano", "tier=l")
    shutil.rmtree(copy / "run" / "search" / "jetson_nano" / "l")
    run(copy, "search", *cell, table, "budget_ms=4", *SMALL_SEARCH)
    assert "jetson_nano/l: the export is not what the search chose last" in run(copy, "report")
    stale = pd.read_csv(copy / "run" / "report" / "summary.csv").set_index(["device", "tier"]).loc["jetson_nano", "l"]
    assert stale["latency_table"] == LatencyTable.load(copy / "slower.csv").digest
    assert np.isnan(stale["ap_val"])
    assert "already" not in run(copy, "export", *cell, table)
    manifest = json.loads((copy / "run" / "export" / "jetson_nano" / "l" / "manifest.json").read_text())
    arch = Arch.load(copy / "run" / "export" / "jetson_nano" / "l" / "arch.json")
    assert manifest["latency"]["network"]["ms"] == LatencyTable.load(copy / "slower.csv").estimate(arch).ms


def test_the_same_seed_chooses_the_same_architecture(workspace: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    (again / "data").symlink_to(workspace / "data")
    run(again, "train", *SMALL_TRAINING)
    run(again, "sample", "num_subnets=10")
    run(again, "fit")
    run(again, "search", f"device={DEVICES[0]}", f"tier={TIERS[0]}", *SMALL_SEARCH)
    chosen = [
        json.loads((folder / "run" / "search" / DEVICES[0] / TIERS[0] / "chosen.json").read_text())
        for folder in (workspace, again)
    ]
    assert chosen[0]["arch"] == chosen[1]["arch"]
