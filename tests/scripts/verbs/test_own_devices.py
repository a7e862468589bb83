"""Devices of a folder of one's own are seen by every key; names never lead out of the workspace."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.files import read_json

MINE = """\
name: mine
table: raspberry_pi_4b
budgets_ms:
  tiny: {fast: 2.5}
"""
SMALL = ("search.first=8", "search.generations=0", "evaluator=published")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "device").mkdir(parents=True)
    (folder / "device" / "mine.yaml").write_text(MINE)
    return folder


def test_one_s_own_device_is_searched_alone_and_with_others(run_script: Any, tmp_path: Path, own: Path) -> None:
    command = ("--config-dir", str(own), f"workspace={tmp_path / 'run'}", *SMALL)
    assert run_script("search", *command, "device=mine", "tier=fast").status == 0
    alone = read_json(tmp_path / "run" / "search" / "mine" / "fast" / "chosen.json")
    assert alone["budget_ms"] == 2.5
    outcome = run_script("search", *command, "devices=[mine,jetson_nano]", "tier=both", "budget_ms=3")
    assert outcome.status == 0, outcome.stderr
    assert read_json(tmp_path / "run" / "search" / "jetson_nano" / "both" / "chosen.json")["budget_ms"] == 3


def test_an_own_device_is_checked(run_script: Any, tmp_path: Path, own: Path) -> None:
    command = ("--config-dir", str(own), f"workspace={tmp_path / 'run'}", *SMALL)
    (own / "device" / "mine.yaml").write_text(MINE.replace("table:", "tabel:"))
    for devices in ("device=mine", "devices=[mine,jetson_nano]"):
        outcome = run_script("search", *command, devices, "tier=fast")
        assert outcome.stderr.startswith("error: unknown key device.tabel; the keys are name, table, ")


def test_a_single_device_in_devices_has_its_own_folder(run_script: Any, tmp_path: Path) -> None:
    outcome = run_script("search", f"workspace={tmp_path}", *SMALL, "devices=jetson_nano", "tier=m")
    assert outcome.status == 0, outcome.stderr
    assert read_json(tmp_path / "search" / "jetson_nano" / "m" / "chosen.json")["device"] == "jetson_nano"


@pytest.mark.parametrize("key", ["tier", "device.name", "dataset.name"])
@pytest.mark.parametrize("script", ["search", "export", "finetune"])
def test_no_name_leads_out(run_script: Any, tmp_path: Path, script: str, key: str) -> None:
    workspace = tmp_path / "workspace"
    outcome = run_script(script, f"workspace={workspace}", f"{key}=../../victim")
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"error: {key} is '../../victim'; it must be a name")
    assert list(tmp_path.iterdir()) == []
