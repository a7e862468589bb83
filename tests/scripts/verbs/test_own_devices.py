"""Devices of a folder of one's own are seen by every key."""

from pathlib import Path
from typing import Any

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
    for given in ("device=mine", "devices=[mine,jetson_nano]"):
        told = run_script("search", *command, given, "tier=fast").refusal
        assert told.startswith("error: unknown key device.tabel; the keys are name, ")
