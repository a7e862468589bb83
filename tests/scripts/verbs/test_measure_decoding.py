"""What a frame costs beyond its network is measured into a file that a search reads."""

from pathlib import Path
from typing import Any

from litepose_ofa.latency_tables.decoding.cost import DecodingCost

QUICK = ("image_sizes=[96,128]", "people_counts=[0,2]", "scenes=2", "rounds=1", "frame=[64,48]")


def test_writes_a_cost_that_loads(tmp_path: Path, run_script: Any) -> None:
    outcome = run_script("measure_decoding", f"workspace={tmp_path}", f"output={tmp_path}", "name=laptop", *QUICK)
    assert outcome.status == 0
    cost = DecodingCost.load(tmp_path / "laptop.yaml")
    assert (cost.name, cost.frame, cost.threads) == ("laptop", (64, 48), 1)
    assert cost.ms(112, people=1) > 0
