import contextlib
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import coco as coco_api

from supernet.data.coco import KeypointDataset
from supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from supernet.data.synthetic import PeopleSettings, generate_split, split_paths
from supernet.errors import InputError

SMALL = PeopleSettings(image_size=(96, 64))


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_a_split_is_a_coco_folder(tmp_path: Path, skeleton: Skeleton) -> None:
    assert generate_split(tmp_path, "val", 6, 0, SMALL, skeleton) == 6
    annotations, images = split_paths(tmp_path, "val")
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco_api.COCO(str(annotations))
    assert api.getImgIds() == [1, 2, 3, 4, 5, 6]
    assert api.loadCats(api.getCatIds(catNms=["person"]))[0]["keypoints"] == list(skeleton.keypoints)
    for annotation in api.loadAnns(api.getAnnIds()):
        assert annotation["num_keypoints"] == np.count_nonzero(annotation["keypoints"][2::3]) > 0
        assert 0 < annotation["area"] <= annotation["bbox"][2] * annotation["bbox"][3]
    assert all(0 <= picture["crowdIndex"] <= 1 for picture in api.loadImgs(api.getImgIds()))
    dataset = KeypointDataset.load(annotations, images, skeleton)
    assert [dataset.read_image(index).shape for index in range(6)] == [(64, 96, 3)] * 6
    assert all(len(record.keypoints) and not record.ignore for record in dataset.records)


def test_the_same_seed_gives_the_same_bytes_and_any_part_of_a_split(tmp_path: Path) -> None:
    for name, count, seed in (("a", 5, 0), ("b", 5, 0), ("short", 3, 0), ("other", 5, 1)):
        generate_split(tmp_path / name, "train", count, seed, SMALL, CROWDPOSE)
    whole = digests(tmp_path / "a")
    assert digests(tmp_path / "b") == whole
    short, other = digests(tmp_path / "short"), digests(tmp_path / "other")
    assert all(short[name] == whole[name] for name in short if name.endswith(".jpg"))
    assert not set(other.values()) & set(whole.values())
    generate_split(tmp_path / "a", "val", 5, 0, SMALL, CROWDPOSE)
    assert len(set(digests(tmp_path / "a").values())) == 12, "splits share no image"


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        generate_split(tmp_path / name, "train", 40, 0, SMALL, CROWDPOSE, workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_an_interrupted_split_has_no_json_and_a_finished_one_is_left_alone(tmp_path: Path) -> None:
    def interrupt_at_three(done: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        generate_split(tmp_path / "a", "train", 5, 0, SMALL, CROWDPOSE, on_progress=interrupt_at_three)
    assert not split_paths(tmp_path / "a", "train")[0].exists()
    assert generate_split(tmp_path / "a", "train", 5, 0, SMALL, CROWDPOSE) == 5
    generate_split(tmp_path / "b", "train", 5, 0, SMALL, CROWDPOSE)
    finished = digests(tmp_path / "a")
    assert finished == digests(tmp_path / "b")
    assert generate_split(tmp_path / "a", "train", 5, 0, SMALL, CROWDPOSE) == 0
    assert digests(tmp_path / "a") == finished


def test_poses_of_real_people(tmp_path: Path, reference_path: Callable[[str], Path]) -> None:
    real = reference_path("data/crowdpose_val.json")
    generate_split(tmp_path, "val", 8, 0, SMALL, CROWDPOSE, poses_from=real)
    generate_split(tmp_path / "own", "val", 8, 0, SMALL, CROWDPOSE)
    people = json.loads(split_paths(tmp_path, "val")[0].read_text())["annotations"]
    own = json.loads(split_paths(tmp_path / "own", "val")[0].read_text())["annotations"]
    assert [person["keypoints"] for person in people] != [person["keypoints"] for person in own]
    assert all(person["num_keypoints"] >= 11 for person in people)


def test_what_cannot_be_rendered_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split 'val' has 0 images"):
        generate_split(tmp_path, "val", 0, 0, SMALL, CROWDPOSE)
    with pytest.raises(InputError, match="no such file"):
        generate_split(tmp_path, "val", 3, 0, SMALL, CROWDPOSE, poses_from=tmp_path / "absent.json")
    assert not list(tmp_path.iterdir())
