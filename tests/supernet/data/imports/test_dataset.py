"""A dataset is written whole or not at all; its images are links; its YAML says where its splits are."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from litepose_ofa.supernet.data.coco.checking import check_split
from litepose_ofa.supernet.data.coco.splits import SplitFiles
from litepose_ofa.supernet.data.imports.dataset import (
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    box_around,
    in_pixels,
    pairs_by_name,
    skeleton_of,
    write_dataset,
)
from litepose_ofa.supernet.data.skeletons import COCO, Skeleton
from litepose_ofa.supernet.errors import InputError

NAMES = ("tip", "left_end", "right_end")
PERSON = ImportedPerson(np.array([(10, 4, 2), (20, 14, 1), (0, 0, 0)], float), (8, 2, 14, 14))


@pytest.fixture
def images(draw: Callable[[Path], Path], tmp_path: Path) -> list[ImportedImage]:
    paths = [draw(tmp_path / "source" / name) for name in ("a.png", "b.png", "c.png")]
    people: list[list[ImportedPerson]] = [[], [PERSON], [PERSON]]
    return [ImportedImage(path, f"x/{path.name}", (40, 20), of) for path, of in zip(paths, people, strict=True)]


@pytest.fixture
def made(images: list[ImportedImage]) -> ImportedDataset:
    return ImportedDataset(skeleton_of(NAMES, [(1, 2)]), {"train": images[:2], "val": images[2:]})


def test_what_is_written_is_a_dataset_without_a_finding(made: ImportedDataset, tmp_path: Path) -> None:
    folder, seen = tmp_path / "mine", []
    write_dataset(made, folder, "from a test", on_image=lambda: seen.append(folder.exists()))
    assert seen == [False] * 3, "nothing looks finished before the end"
    option = (folder / "dataset" / "mine.yaml").read_text()
    values = yaml.safe_load(option)
    assert option.startswith("# from a test\n")
    assert (values["name"], values["root"]) == ("mine", str(folder))
    assert values["search"] == {"holdout_fraction": 0.1, "seed": 0}
    assert values["val"] == {"annotations": "annotations/person_keypoints_val.json", "images": "images"}
    skeleton = Skeleton.from_dict({"name": "mine", **values["skeleton"]})
    assert (skeleton.keypoints, skeleton.flip_pairs, skeleton.area) == (NAMES, ((1, 2),), "box")
    checked = [
        check_split(SplitFiles(folder / values[split]["annotations"], folder / "images"), skeleton)
        for split in ("train", "val")
    ]
    assert [kind.name for each in checked for kind in each.log.kinds()] == ["NOBODY"]
    train, val = (each.images.annotations for each in checked)
    assert (train.image_ids.tolist(), val.image_ids.tolist()) == ([1, 2], [3]), "no id is in two files"
    np.testing.assert_array_equal(val.keypoints[0], PERSON.keypoints)
    assert val.areas.tolist() == pytest.approx([0.53 * 14 * 14])


def test_with_two_more_splits_one_is_searched_on_and_the_last_reported_on(
    images: list[ImportedImage], tmp_path: Path
) -> None:
    splits = dict(zip(("train", "val", "test"), ([image] for image in images), strict=True))
    three = ImportedDataset(skeleton_of(NAMES, []), splits)
    write_dataset(three, tmp_path / "three", "a test")
    values = yaml.safe_load((tmp_path / "three" / "dataset" / "three.yaml").read_text())
    used = [values[split]["annotations"] for split in ("train", "search", "val")]
    assert used == [f"annotations/person_keypoints_{split}.json" for split in ("train", "val", "test")]


def test_images_are_links_and_where_that_cannot_be_copies(
    made: ImportedDataset, images: list[ImportedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(made, tmp_path / "links", "a test")
    assert os.path.samefile(images[0].source, tmp_path / "links/images/x/a.png")

    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    write_dataset(made, tmp_path / "copies", "a test")
    copy = tmp_path / "copies/images/x/a.png"
    assert not os.path.samefile(images[0].source, copy)
    assert copy.read_bytes() == images[0].source.read_bytes()


def test_an_end_in_the_middle_leaves_nothing(made: ImportedDataset, tmp_path: Path) -> None:
    before = {*tmp_path.iterdir()}

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(made, tmp_path / "mine", "a test", on_image=end)
    assert {*tmp_path.iterdir()} == before


def test_neither_a_folder_nor_a_link_is_overwritten(made: ImportedDataset, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="mine: is there already; move it away, or choose another name"):
        write_dataset(made, tmp_path / "mine", "a test")


def test_two_images_of_one_name_are_refused(images: list[ImportedImage], tmp_path: Path) -> None:
    twice = ImportedDataset(COCO, {"train": [images[0]], "val": [images[0]]})
    with pytest.raises(InputError, match=r"a second image of the name a\.png"):
        write_dataset(twice, tmp_path / "mine", "a test")
    assert not (tmp_path / "mine").exists()


def test_a_known_skeleton_is_named_whatever_the_order() -> None:
    assert skeleton_of(COCO.keypoints[::-1], []) is COCO
    assert skeleton_of(COCO.keypoints[:-1], []).name == "own"
    with pytest.raises(InputError, match=r"keypoints is .*'a', 'a'"):
        skeleton_of(["a", "a"], [])


def test_sides_are_told_by_names() -> None:
    assert pairs_by_name(COCO.keypoints) == list(COCO.flip_pairs)
    assert pairs_by_name(["Right Hip", "Left Hip", "left_only", "tip"]) == [(1, 0)]


def test_shares_of_the_image_may_leave_it_by_rounding_alone() -> None:
    assert in_pixels(0.25, 1, 40, "x") == 10
    assert in_pixels(100.05, 100, 40, "x") == 40
    for value in (-0.2, 100.2, float("nan")):
        with pytest.raises(InputError, match=r"the x is .*; it must be from 0 to 100"):
            in_pixels(value, 100, 40, "the x")


def test_a_box_has_a_margin_and_ends_with_the_image() -> None:
    assert box_around(PERSON.keypoints, (40, 20)) == pytest.approx((8.8, 2.8, 12.4, 12.4))
    assert box_around(PERSON.keypoints, (21, 15)) == pytest.approx((8.8, 2.8, 12.2, 12.2))
