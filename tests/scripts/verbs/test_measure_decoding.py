"""The script that measures what a frame costs beyond its network."""

from pathlib import Path
from typing import Any

from litepose_ofa.latency_tables.decoding.cost import DecodingCost

QUICK = ("image_sizes=[96,128]", "people_counts=[0,2]", "scenes=2", "rounds=1", "frame=[64,48]")


def test_writes_a_cost_that_loads(tmp_path: Path, run_script: Any) -> None:
    outcome = run_script("measure_decoding", f"workspace={tmp_path}", f"output={tmp_path}", "name=laptop", *QUICK)
    assert outcome.status == 0, outcome.stderr
    cost = DecodingCost.load(tmp_path / "laptop.yaml")
    assert (cost.name, cost.frame, cost.threads) == ("laptop", (64, 48), 1)
    assert cost.ms(112, people=1) > 0


def test_bad_input_is_one_line_and_status_2(tmp_path: Path, run_script: Any) -> None:
    for override, message in (
        ("people_counts=[3]", "people_counts is (3,); it must be ascending numbers"),
        ("image_sizes=[100]", "image_sizes is 100; it must be a positive multiple of 16"),
        ("name=../away", "name is '../away'; it must be a name of up to 100"),
    ):
        places = (f"workspace={tmp_path}", f"output={tmp_path}", "name=laptop")
        outcome = run_script("measure_decoding", *places, *QUICK, override)
        assert outcome.status == 2
        assert message in outcome.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("*.yaml"))
