"""People are rendered by every preset, once, and a folder keeps its settings."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.files import read_json

COUNTS = ("images.train=3", "images.search=1", "images.val=1", "workers=1")


@pytest.mark.parametrize("preset", ["clear", "crowded", "street"])
def test_every_preset_renders(run_script: Any, tmp_path: Path, preset: str) -> None:
    outcome = run_script("generate_people", f"data_root={tmp_path}", f"people={preset}", *COUNTS)
    assert "5 images" in outcome.printed
    assert len(list(tmp_path.rglob("*.jpg"))) == 5


def test_people_are_rendered_once_and_a_folder_keeps_its_settings(run_script: Any, tmp_path: Path) -> None:
    command = ("generate_people", f"data_root={tmp_path}", "people.image_size=64", *COUNTS)
    told = run_script(*command, "people.people=[3,1]").refusal
    assert "people.people is (3, 1); it must be ascending" in told
    assert run_script(*command).status == 0
    picture = read_json(next(tmp_path.rglob("train.json")))["images"][0]
    assert (picture["width"], picture["height"]) == (64, 64)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    assert "is complete" in run_script(*command).printed
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")} == files
    assert "seed was 0, is 1" in run_script(*command, "seed=1").refusal
    assert "rendering needs dataset=people" in run_script(*command, "dataset=coco").refusal
