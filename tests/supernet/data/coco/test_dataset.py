import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
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


def test_images_are_read_as_rgb(dataset: KeypointDataset) -> None:
    stored = cv2.imread(str(dataset.records[0].path))
    assert stored is not None
    np.testing.assert_array_equal(dataset.read_image(0), stored[..., ::-1])
    assert dataset.read_image(1).dtype == np.uint8


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


def test_records_are_a_sequence(dataset: KeypointDataset) -> None:
    assert [record.id for record in dataset.records[::-1]] == [3, 7]
    assert dataset.records[-1].id == 3
    with pytest.raises(IndexError):
        dataset.records[2]


def test_a_holdout_is_a_seeded_partition() -> None:
    dataset = numbered(50)
    rest, held_out = dataset.holdout(12, seed=3)
    assert len(held_out) == 12
    assert sorted(ids(rest) + ids(held_out)) == ids(dataset)
    for part in (rest, held_out):
        assert all(a < b for a, b in itertools.pairwise(ids(part)))
    assert ids(dataset.holdout(12, seed=3)[1]) == ids(held_out)
    assert ids(dataset.holdout(12, seed=4)[1]) != ids(held_out)


@pytest.mark.parametrize("count", [0, -1, 50, 51])
def test_a_holdout_leaves_both_parts_something(count: int) -> None:
    with pytest.raises(InputError, match=f"cannot hold out {count} of 50"):
        numbered(50).holdout(count, seed=0)
