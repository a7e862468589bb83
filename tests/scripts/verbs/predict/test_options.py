"""Questions and options that are bad are one line; the defaults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omegaconf import DictConfig

RunScript = Callable[..., Any]
Complaint = Callable[[Any], str]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("input={tmp}/none", "none: no such file or folder"),
        ("input={tmp}/empty", "empty: holds no pictures; they end in .jpg"),
        ("input={tmp}/notes.txt", "notes.txt: is not a picture"),
        ("input={tmp}/none.mp4", "none.mp4: no such file"),
        ("output={tmp}/pictures/out", "it must be outside of the input"),
        ("output={tmp}", "it must be outside of the input"),
        ("output={tmp} input={tmp}/clip.mp4", "it must be another folder than the video's"),
        ("inference.threshold=low", "inference.threshold is 'low'; it must be a number"),
        ("batch_size=2.5", "batch_size is 2.5; it must be an integer of at least 1"),
        ("max_megapixels=1000", "max_megapixels is 1000; it must be a number above 0 and at most 130"),
    ],
)
def test_a_bad_question_is_one_line(
    predict: Callable[..., Any], tmp_path: Path, override: str, told: str, complaint: Complaint
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    assert told in complaint(predict(*override.format(tmp=tmp_path).split()))
    assert not list(tmp_path.rglob("predictions.json*"))


def test_what_is_missing_is_named(run_script: RunScript, tmp_path: Path, complaint: Complaint) -> None:
    picture = tmp_path / "dot.png"
    assert cv2.imwrite(str(picture), np.zeros((1, 1, 3), np.uint8))
    for given, told in (((), "input"), ((f"input={picture}",), "model")):
        line = complaint(run_script("predict", f"output={tmp_path / 'out'}", *given))
        assert f"{told} is missing; give {told}=..." in line


def test_the_defaults_are_quick_and_sure(config: DictConfig) -> None:
    assert (config.inference.flip_test, config.inference.threshold, config.min_score) == (False, 0.1, 0.2)
    assert (config.on_bad_image, config.output) == ("skip", "runs/tiny-people/predictions")
