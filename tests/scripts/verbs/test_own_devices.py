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


def test_one_s_own_device_is_searched_alone_and_with_others_and_checked(run_script: Any, tmp_path: Path) -> None:
    device = tmp_path / "own" / "device" / "mine.yaml"
    device.parent.mkdir(parents=True)
    device.write_text(MINE)
    command = ("--config-dir", str(tmp_path / "own"), f"workspace={tmp_path / 'run'}", *SMALL)
    assert run_script("search", *command, "device=mine", "tier=fast").status == 0
    alone = read_json(tmp_path / "run" / "search" / "mine" / "fast" / "chosen.json")
    assert alone["budget_ms"] == 2.5
    assert run_script("search", *command, "devices=[mine,jetson_nano]", "tier=both", "budget_ms=3").status == 0
    assert read_json(tmp_path / "run" / "search" / "jetson_nano" / "both" / "chosen.json")["budget_ms"] == 3

    device.write_text(MINE.replace("table:", "tabel:"))
    outcome = run_script("search", *command, "device=mine", "tier=fast")
    assert outcome.stderr.startswith("error: unknown key device.tabel; the keys are name, ")
    outcome = run_script("search", *command, "devices=[mine,jetson_nano]", "tier=fast")
    assert outcome.stderr.startswith("error: unknown key device.tabel; the keys are name, ")


@pytest.mark.parametrize("key", ["tier", "device.name", "dataset.name"])
@pytest.mark.parametrize("script", ["search", "export", "finetune"])
def test_no_name_leads_out(run_script: Any, tmp_path: Path, script: str, key: str) -> None:
    workspace = tmp_path / "workspace"
    told = run_script(script, f"workspace={workspace}", f"{key}=../../victim").refusal
    assert told.startswith(f"error: {key} is '../../victim'; it must be a name")
    assert list(tmp_path.iterdir()) == []
