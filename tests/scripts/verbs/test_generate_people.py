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
    assert PeopleSettings(**compose_config("generate_people").people) == PeopleSettings()


@pytest.mark.parametrize(
    ("change", "line"),
    [("people=[3,1]", "people.people is (3, 1); it must be ascending"), ("grain=99", "people.grain is 99")],
)
def test_people_that_cannot_be_are_one_line(
    run_script: Callable[..., Any], tmp_path: Path, change: str, line: str
) -> None:
    result = run_script("generate_people", f"data_root={tmp_path}", f"people.{change}", *COUNTS)
    assert result.status == 2
    assert line in result.stderr


def test_one_number_is_a_square(run_script: Callable[..., Any], tmp_path: Path) -> None:
    assert run_script("generate_people", f"data_root={tmp_path}", "people.image_size=64", *COUNTS).status == 0
    picture = read_json(next(tmp_path.rglob("train.json")))["images"][0]
    assert (picture["width"], picture["height"]) == (64, 64)


def test_people_are_rendered_once_and_a_folder_keeps_its_settings(
    run_script: Callable[..., Any], tmp_path: Path
) -> None:
    command = (f"data_root={tmp_path}", "people.image_size=64", *COUNTS)
    assert run_script("generate_people", *command).status == 0
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    assert "is complete" in run_script("generate_people", *command).stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")} == files
    assert "seed was 0, is 1" in run_script("generate_people", *command, "seed=1").stderr
    assert "rendering needs dataset=people" in run_script("generate_people", *command, "dataset=coco").stderr
