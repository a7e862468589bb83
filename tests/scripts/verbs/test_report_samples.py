"""Sample pictures of the report: which images and subnets are shown, and how large the files are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.data import plain
from litepose_ofa.scripts.verbs.report import MOST_BYTES, draw_sample_pictures
from litepose_ofa.search.reporting.searches import FinishedSearch
from litepose_ofa.search.study.results import SearchOutcome
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.files import write_json
from litepose_ofa.supernet.network.litepose import LitePose

Compose = Callable[..., DictConfig]
SPACE = SearchSpace.preset("tiny")


def searched(workspace: Path, device: str, tier: str, *, exported: bool = True, **record: Any) -> FinishedSearch:
    """A finished search, its choice exported or not."""
    arch = SPACE.smallest()
    search = {"space": SPACE.to_dict(), "num_keypoints": 14}
    known = {"arch_digest": arch.digest, "ap_source": "predictor", "search": search, **record}
    outcome = SearchOutcome(workspace / "search" / device / tier, arch, known)
    cell = FinishedSearch(workspace, device, tier, outcome, pd.DataFrame({"arch_digest": [arch.digest]}))
    cell.__dict__["manifest"] = {"arch_digest": arch.digest} if exported else None
    if exported:
        torch.manual_seed(0)
        images = np.zeros((1, 3, arch.image_size, arch.image_size), np.float32)
        subnet = LitePose(arch).eval()
        write_bundle(cell.export_folder, subnet, skeleton=CROWDPOSE, images=images, formats=[], facts={})
    return cell


@pytest.fixture
def cfg(compose_config: Compose) -> DictConfig:
    return compose_config("report", "accelerator=cpu")


def size_of(jpeg: bytes) -> tuple[int, int]:
    """Width and height."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.shape[1], image.shape[0]


def test_an_image_is_shown_for_each_tier_of_one_device(cfg: DictConfig, tmp_path: Path) -> None:
    cells = [
        searched(tmp_path, "one", "s"),
        searched(tmp_path, "two", "s"),
        searched(tmp_path, "two", "m"),
        searched(tmp_path, "two", "l", exported=False),
    ]
    pictures, note = draw_sample_pictures(cfg, cells, 3)
    assert len(pictures) == 3
    assert "subnets for two find (s, m)" in note
    for picture in pictures:
        assert len(picture.jpeg) <= MOST_BYTES
        assert size_of(picture.jpeg) == (604, 604), "image, labelled, s and m, two by two"
        assert picture.caption.endswith("found: s 0, m 0."), "untrained, so nobody is sure"
        assert "labelled" in picture.alt


def test_there_is_nothing_to_show_for_zero_or_a_surrogate(cfg: DictConfig, tmp_path: Path) -> None:
    assert draw_sample_pictures(cfg, [searched(tmp_path, "one", "s")], 0) == ([], "")
    surrogate = searched(tmp_path, "two", "s", exported=False, ap_source="published-surrogate")
    assert draw_sample_pictures(cfg, [surrogate], 4) == ([], "")


def test_what_is_missing_is_a_line(cfg: DictConfig, compose_config: Compose, tmp_path: Path) -> None:
    pictures, note = draw_sample_pictures(cfg, [searched(tmp_path, "one", "s", exported=False)], 4)
    assert not pictures
    assert "`litepose export`" in note
    elsewhere = compose_config("report", f"dataset.root={tmp_path / 'nowhere'}", "accelerator=cpu")
    pictures, note = draw_sample_pictures(elsewhere, [searched(tmp_path, "two", "s")], 4)
    assert not pictures
    assert note.startswith("No sample predictions: ")
    assert "nowhere" in note


def test_images_are_of_the_dataset_that_was_searched_on(cfg: DictConfig, tmp_path: Path) -> None:
    cell = searched(tmp_path, "one", "s")
    recorded = {**plain(cfg.dataset), "name": "mine", "root": str(tmp_path / "mine")}
    config = {"dataset": recorded, "evaluation": plain(cfg.evaluation)}
    write_json(cell.run_folder / "run.json", {"config": config})
    _, note = draw_sample_pictures(cfg, [cell], 1)
    assert str(tmp_path / "mine") in note
    write_json(cell.run_folder / "run.json", {"config": {"dataset": {"name": "mine"}, "evaluation": {}}})
    assert draw_sample_pictures(cfg, [searched(tmp_path, "one", "s")], 1)[1].startswith("No sample predictions: ")
