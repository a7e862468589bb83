from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings
from litepose_ofa.supernet.files import read_json

COUNTS = ("images.train=3", "images.search=1", "images.val=1", "workers=1")


@pytest.mark.parametrize("preset", ["clear", "crowded", "street"])
def test_every_preset_renders(run_script: Callable[..., Any], tmp_path: Path, preset: str) -> None:
    result = run_script("generate_people", f"data_root={tmp_path}", f"people={preset}", *COUNTS)
    assert result.status == 0, result.stderr
    assert "5 images" in result.stdout
    assert len(list(tmp_path.rglob("*.jpg"))) == 5


def test_the_default_preset_is_the_default_settings(compose_config: Callable[..., Any]) -> None:
    assert PeopleSettings.from_dict(compose_config("generate_people").people) == PeopleSettings()


def test_a_street_where_people_are_annotated(
    run_script: Callable[..., Any], tmp_path: Path, reference_path: Callable[[str], Path]
) -> None:
    street = ("people=street", "people.placement=annotated", f"data_root={tmp_path}", *COUNTS)
    result = run_script("generate_people", *street)
    assert result.status == 2
    assert "crowd_index cannot be chosen with placement=annotated" in result.stderr
    street = (*street, "people.crowd_index=[]")
    assert "needs an annotation file in poses_from" in run_script("generate_people", *street).stderr
    poses = f"poses_from={reference_path('data/crowdpose_val.json')}"
    assert run_script("generate_people", *street, poses).status == 0
    (train,) = tmp_path.rglob("train.json")
    assert all("source_id" in picture for picture in read_json(train)["images"])
