import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.supernet.data.coco.splits import SPLITS, DatasetSplits, Holdout, SplitFiles
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError

DOT = Skeleton(name="dot", keypoints=("dot",), limbs=(), sigmas=(0.05,), area="box")


def write(root: Path, name: str, numbers: range, folder: str = "images") -> SplitFiles:
    pictures = [{"id": number, "file_name": f"{number}.png", "width": 8, "height": 8} for number in numbers]
    (root / folder).mkdir(exist_ok=True)
    (root / f"{name}.json").write_text(json.dumps({"images": pictures, "annotations": []}))
    return SplitFiles(root / f"{name}.json", root / folder)


@pytest.fixture
def train(tmp_path: Path) -> SplitFiles:
    return write(tmp_path, "train", range(60))


HOLDOUTS = (Holdout(0, holdout_images=7), Holdout(3, holdout_fraction=0.2))


@pytest.mark.parametrize(("search", "val"), list(itertools.product(["files", *HOLDOUTS], repeat=2)))
def test_no_image_is_in_two_splits(tmp_path: Path, train: SplitFiles, search: Any, val: Any) -> None:
    sources = {"search": search, "val": val}
    for name, first in (("search", 60), ("val", 70)):
        if sources[name] == "files":
            sources[name] = write(tmp_path, name, range(first, first + 5))
    splits = DatasetSplits(DOT, train, **sources)
    names = {split: splits.load(split).file_names for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not set(names[one]) & set(names[other])
    held_out = sum(len(names[split]) for split in sources if isinstance(sources[split], Holdout))
    assert len(names["train"]) == 60 - held_out
    sizes = dict(zip(HOLDOUTS, (7, 12), strict=True))
    for split, source in sources.items():
        assert len(names[split]) == (sizes[source] if isinstance(source, Holdout) else 5)
    assert {split: splits.load(split).file_names for split in SPLITS} == names


def test_what_is_reported_on_does_not_depend_on_what_is_searched_on(train: SplitFiles) -> None:
    val = Holdout(1, holdout_images=9)
    reported = [
        DatasetSplits(DOT, train, search, val).load("val").file_names
        for search in (Holdout(0, holdout_images=5), Holdout(7, holdout_fraction=0.5))
    ]
    assert reported[0] == reported[1]


def test_files_that_share_an_image_are_refused(tmp_path: Path, train: SplitFiles) -> None:
    val = write(tmp_path, "val", range(58, 70))
    splits = DatasetSplits(DOT, train, Holdout(0, holdout_images=5), val)
    for split in SPLITS:
        with pytest.raises(InputError, match=r"the splits train and val share .*/58\.png and 1 more; no image may be"):
            splits.load(split)


def test_the_same_names_in_folders_apart_are_other_images(tmp_path: Path, train: SplitFiles) -> None:
    val = write(tmp_path, "val", range(10), folder="others")
    assert len(DatasetSplits(DOT, train, Holdout(0, holdout_images=5), val).load("val")) == 10
    (tmp_path / "link").symlink_to(train.images)
    linked = SplitFiles(val.annotations, tmp_path / "link")
    with pytest.raises(InputError, match="the splits train and val share"):
        DatasetSplits(DOT, train, Holdout(0, holdout_images=5), linked).load("val")


def test_a_split_loads_without_the_files_of_another(tmp_path: Path, train: SplitFiles) -> None:
    absent = SplitFiles(tmp_path / "absent.json", train.images)
    splits = DatasetSplits(DOT, train, Holdout(0, holdout_images=5), absent)
    assert (len(splits.load("train")), len(splits.load("search"))) == (55, 5)
    with pytest.raises(InputError, match=r"absent\.json: no such file"):
        splits.load("val")


def test_a_folder_in_the_other_is_compared_too(tmp_path: Path) -> None:
    (tmp_path / "images" / "part").mkdir(parents=True)
    pictures = [{"id": 1, "file_name": "part/1.png", "width": 8, "height": 8}]
    (tmp_path / "train.json").write_text(json.dumps({"images": pictures, "annotations": []}))
    train = SplitFiles(tmp_path / "train.json", tmp_path / "images")
    inner = write(tmp_path, "val", range(1, 3), folder="images/part")
    with pytest.raises(InputError, match=r"share .*images/part/1\.png;"):
        DatasetSplits(DOT, train, Holdout(0, holdout_images=1), inner).load("val")


def test_a_holdout_that_leaves_nothing_and_an_unknown_split(train: SplitFiles) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Holdout(seed=0)
    half = Holdout(0, holdout_images=30)
    with pytest.raises(InputError, match=r"train\.json: cannot hold out 30 of 30 images"):
        DatasetSplits(DOT, train, half, half).load("train")
    with pytest.raises(InputError, match=r"train\.json: cannot hold out 0 of 30 images"):
        DatasetSplits(DOT, train, Holdout(0, holdout_fraction=0.001), half).load("train")
    with pytest.raises(InputError, match="unknown split 'test'; known: train, search, val"):
        DatasetSplits(DOT, train, half, half).load("test")


def test_a_network_that_has_seen_held_out_images_is_refused(tmp_path: Path, train: SplitFiles) -> None:
    files = write(tmp_path, "search", range(60, 65))
    by_count, by_fraction = Holdout(0, holdout_images=6), Holdout(0, holdout_fraction=0.1)
    val = Holdout(0, holdout_images=4)
    splits = DatasetSplits(DOT, train, by_count, val)
    record = splits.held_out()
    assert record["search"] == {"holdout_images": 6, "seed": 0, "images": splits.load("search").digest}
    assert json.loads(json.dumps(record)) == record
    splits.require_unseen(record, "net")
    DatasetSplits(DOT, train, by_fraction, val).require_unseen(record, "net")  # the same images, told otherwise
    DatasetSplits(DOT, train, files, val).require_unseen(record, "net")
    other_seed = DatasetSplits(DOT, train, Holdout(1, holdout_images=6), val)
    message = (
        "net: has seen images of the split search: it was trained with .*'seed': 0.* the dataset holds out .*'seed': 1"
    )
    with pytest.raises(InputError, match=message):
        other_seed.require_unseen(record, "net")
    without = DatasetSplits(DOT, train, files, files).held_out()
    assert without == {}
    with pytest.raises(
        InputError, match="net: has seen images of the split search: it was trained with nothing held out"
    ):
        splits.require_unseen(without, "net")
    write(tmp_path, "train", range(1, 61))
    with pytest.raises(InputError, match="has seen images"):
        DatasetSplits(DOT, train, by_count, val).require_unseen(record, "net")


@pytest.mark.parametrize("split", ["search", "val"])
def test_what_is_trained_on_beside_is_in_neither_of_the_others(tmp_path: Path, train: SplitFiles, split: str) -> None:
    """Images that only the training split has are allowed, and files of another folder with the same names."""
    sources: dict[str, Any] = {"search": Holdout(0, holdout_images=5), "val": write(tmp_path, "val", range(70, 75))}
    splits = DatasetSplits(DOT, train, **sources)
    kept = sorted(int(Path(name).stem) for name in splits.load("train").file_names)
    assert len(splits.load_further(write(tmp_path, "more", range(*kept[:2])), DOT)) == kept[1] - kept[0]
    assert len(splits.load_further(write(tmp_path, "elsewhere", range(80), "elsewhere"), DOT)) == 80
    taken = splits.load(split).file_names[0]
    number = int(Path(taken).stem)
    with pytest.raises(InputError, match=rf"more.json: has .*/images/{taken} of the split {split}; no image may"):
        splits.load_further(write(tmp_path, "more", range(number, number + 1)), DOT)
