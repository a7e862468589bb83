"""The facts in a finetuned network's file are checked when they are read back."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.search.tuning.trials import read_facts
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import save_subnet
from litepose_ofa.supernet.network.litepose import LitePose

FACTS: dict[str, Any] = {
    "archs": ["0123456789ab"],
    "supernet": None,
    "start": "scratch",
    "steps": 6,
    "rate": 1,
    "ap_search": {"before": 0.0, "after": 0.5},
    "teacher": None,
}


def test_whole_facts_come_back(tmp_path: Path) -> None:
    path = tmp_path / "subnet.safetensors"
    save_subnet(path, LitePose(SearchSpace.preset("tiny").smallest()), FACTS)
    assert read_facts(path) == FACTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"archs": []}, "archs is []; it must be a list of at least 1"),
        ({"archs": None}, "archs is null; it must be a list of at least 1"),
        ({"ap_search": {"before": 0.1}}, "ap_search.after is missing"),
        ({"steps": "6"}, "steps is '6'; it must be an integer"),
    ],
)
def test_other_facts_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "subnet.safetensors"
    save_subnet(path, LitePose(SearchSpace.preset("tiny").smallest()), FACTS | change)
    with pytest.raises(InputError) as caught:
        read_facts(path)
    assert str(caught.value).startswith(f"{path}: is not of a finetuned network: {message}")
