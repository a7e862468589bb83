"""A training on several datasets: one line for each bad value, a record of what was seen, other settings refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.network.checkpoints import read_description

TRAIN = "annotations:annotations/train.json,images:images/train"
VAL = "annotations:annotations/val.json,images:images/val"


def test_a_mixture_is_recorded_and_another_one_is_another_run(train: Any, tmp_path: Path) -> None:
    workspace = f"workspace={tmp_path / 'run'}"
    command = (workspace, f"training.mixture={{people:{{share:0.25,{TRAIN}}}}}", "training.steps=2")
    assert train(*command).status == 0
    info = read_description(tmp_path / "run" / "supernet" / "supernet.safetensors")["info"]
    assert (info["images"], info["mixture"]) == (12, {"people": {"images": 12, "share": 0.25}})
    assert "already trained" in train(*command).printed
    line = train(*command, "training.mixture.people.share=0.5").refusal
    assert "holds a run with other settings (training.mixture.people.share was 0.25, is 0.5)" in line
    assert "training.mixture.people.share was 0.25, is None" in train(workspace, "training.steps=2").refusal


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ("{nobody:{share:0.1}}", r"training.mixture.nobody: .*/nobody/annotations/person_.*json: no such file"),
        (f"{{people:{{share:-0.1,{TRAIN}}}}}", "people.share is -0.1; it must be a number of at least 0 and below 1"),
        (f"{{people:{{share:half,{TRAIN}}}}}", "people.share is 'half'; it must be a number of at least 0 and below 1"),
        (f"{{people:{{share:nan,{TRAIN}}}}}", "people.share is nan; it must be a number of at least 0 and below 1"),
        (f"{{people:{{{TRAIN}}}}}", "training.mixture.people.share is missing"),
        ("{people:0.1}", "training.mixture.people is 0.1; it must be a mapping with the keys share, unlabelled_weight"),
        ("[people]", r"training.mixture is \['people'\]; it must be a mapping, or null"),
        (f"{{people:{{share:0.1,unlabelled_weight:2,{TRAIN}}}}}", "people.unlabelled_weight is 2; it must be a number"),
        (f"{{people:{{shares:0.1,{TRAIN}}}}}", "unknown key training.mixture.people.shares; the keys are share, "),
        (f"{{people:{{share:0.1,skeleton:hand,{TRAIN}}}}}", "mixture.people: unknown skeleton 'hand'; known: coco, "),
        (f"{{people:{{share:0.1,skeleton:coco,{TRAIN}}}}}", "has 14 keypoints; coco has 17"),
        (
            f"{{people:{{share:0.1,images:photos,{TRAIN.partition(',')[0]}}}}}",
            "people/photos: no such folder of images",
        ),
        (
            f"{{people:{{share:0.1,{VAL}}}}}",
            "mixture.people: .*val.json: has .* of the split val; no image may be in both",
        ),
        (
            f"{{people:{{share:0.5,{TRAIN}}},more:{{share:0.5,root:ROOT,{TRAIN}}}}}",
            "sum of shares is 1.0; it must be bel",
        ),
    ],
)
def test_a_bad_value_is_one_line(train: Any, data_root: Path, tmp_path: Path, mixture: str, message: str) -> None:
    mixture = mixture.replace("ROOT", str(data_root / "people"))
    refusal = train(f"workspace={tmp_path / 'run'}", f"training.mixture={mixture}").refusal
    assert re.search(message, refusal), refusal
    assert not (tmp_path / "run").exists()
