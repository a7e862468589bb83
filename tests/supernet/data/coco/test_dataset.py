import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.dataset import ImageRecord, KeypointDataset
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError


def numbered(count: int) -> KeypointDataset:
    nobody = np.zeros((0, 14, 3), np.float32)
    records = [ImageRecord(number, Path(f"{number}.png"), 8, 8, nobody) for number in range(count)]
    return KeypointDataset(Path("people.json"), Path("images"), CROWDPOSE, records)


def ids(dataset: KeypointDataset) -> list[int]:
    return [record.id for record in dataset.records]


def test_a_folder_that_is_not_there(content: dict[str, Any], write_folder: Callable[..., tuple[Path, Path]]) -> None:
    annotations, images = write_folder(content)
    with pytest.raises(InputError, match="no such folder of images"):
        KeypointDataset.load(annotations, images / "elsewhere", CROWDPOSE)
    with pytest.raises(InputError, match="on_bad_image is 'ignore'"):
        KeypointDataset.load(annotations, images, CROWDPOSE, on_bad_image="ignore")  # type: ignore[arg-type]


def test_subsets_keep_order_and_settings(dataset: KeypointDataset) -> None:
    dataset.on_bad_image = "skip"
    assert ids(dataset.first(1)) == [7]
    assert ids(dataset.first(99)) == [7, 3]
    assert ids(dataset.with_people()) == [7]
    assert dataset.first(1).on_bad_image == "skip"


def test_a_dataset_in_which_nobody_is_labelled_cannot_be_trained_on(
    content: dict[str, Any], write_folder: Callable[..., tuple[Path, Path]]
) -> None:
    content["annotations"] = content["annotations"][1:]
    annotations, images = write_folder(content)
    with pytest.raises(InputError, match=r"people\.json: none of 2 images has a labelled person"):
        KeypointDataset.load(annotations, images, CROWDPOSE).with_people()


def test_the_digest_is_of_the_images_alone(dataset: KeypointDataset, content: dict[str, Any], tmp_path: Path) -> None:
    assert dataset.file_names == ["7.png", "3.png"]
    assert dataset.subset([0, 1]).digest == dataset.digest != dataset.first(1).digest
    del content["annotations"][1:]
    (tmp_path / "fewer.json").write_text(json.dumps(content))
    assert KeypointDataset.load(tmp_path / "fewer.json", dataset.images_dir, CROWDPOSE).digest == dataset.digest
    listed = KeypointDataset(dataset.annotations_path, dataset.images_dir, CROWDPOSE, list(dataset.records))
    assert listed.digest == dataset.digest
    assert ids(listed.subset([1])) == [3]


def test_a_holdout_is_a_seeded_partition() -> None:
    dataset = numbered(50)
    rest, held_out = dataset.holdout(12, seed=3)
    assert len(held_out) == 12
    assert sorted(ids(rest) + ids(held_out)) == ids(dataset)
    for part in (rest, held_out):
        assert all(a < b for a, b in itertools.pairwise(ids(part)))
    assert ids(dataset.holdout(12, seed=3)[1]) == ids(held_out)
    assert ids(dataset.holdout(12, seed=4)[1]) != ids(held_out)
