"""A dataset of one's own from one YAML: five keypoints, files and holdouts, from training to export."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from litepose_ofa.scripts.build import data, networks
from litepose_ofa.supernet.data.skeletons import CROWDPOSE, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import load_supernet, read_skeleton, save_supernet

KEPT = ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
STAR = {
    "keypoints": ["crown", "left_hand", "right_hand", "left_foot", "right_foot"],
    "limbs": [["crown", "left_hand"], ["crown", "right_hand"], ["crown", "left_foot"], ["crown", "right_foot"]],
    "flip_pairs": [["left_hand", "right_hand"], ["left_foot", "right_foot"]],
    "sigmas": [0.08, 0.06, 0.06, 0.09, 0.09],
    "area": "annotation",
}


@pytest.fixture
def config_dir(own_data_root: Path, tmp_path: Path) -> Path:
    """A folder with dataset/star.yaml: rendered people with five of their keypoints; search and val are held out."""
    chosen = [CROWDPOSE.keypoints.index(name) for name in KEPT]
    path = own_data_root / "people" / "annotations" / "train.json"
    content = json.loads(path.read_text())
    for person in content["annotations"]:
        keypoints = np.reshape(person["keypoints"], (-1, 3))[chosen]
        person["keypoints"] = keypoints.ravel().tolist()
        person["num_keypoints"] = int((keypoints[:, 2] > 0).sum())
    content["categories"] = [{"id": 1, "name": "person", "keypoints": STAR["keypoints"]}]
    path.write_text(json.dumps(content))
    settings = {
        "name": "star",
        "skeleton": STAR,
        "root": str(own_data_root / "people"),
        "train": {"annotations": "annotations/train.json", "images": "images/train"},
        "search": {"holdout_images": 3, "seed": 0},
        "val": {"holdout_fraction": 0.25, "seed": 0},
        "on_bad_image": "error",
    }
    folder = tmp_path / "conf"
    (folder / "dataset").mkdir(parents=True)
    (folder / "dataset" / "star.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture
def own(config_dir: Path) -> tuple[str, ...]:
    return (f"hydra.searchpath=[file://{config_dir}]", "dataset=star", "threads=1")


def test_five_keypoints_from_training_to_export(
    run_script: Any, own: tuple[str, ...], quick_training: Any, quick_evaluation: Any, tmp_path: Path
) -> None:
    workspace = (*own, f"workspace={tmp_path / 'run'}")
    checked = run_script("check_dataset", *workspace)
    assert checked.status == 0, checked.stderr
    trained = run_script("train", *workspace, *quick_training, "training.steps=2")
    assert trained.status == 0, trained.stderr
    supernet = load_supernet(tmp_path / "run" / "supernet" / "supernet.safetensors")
    assert supernet.num_keypoints == 5
    evaluated = run_script("evaluate", *workspace, *quick_evaluation, "arch=smallest")
    assert evaluated.status == 0, evaluated.stderr
    result = json.loads(next((tmp_path / "run" / "evaluations").glob("*_val.json")).read_text())
    assert 0 <= result["metrics"]["AP"] <= 1
    assert result["measured_on"]["num_images"] == 3
    estimated = ("device=raspberry_pi_4b", "spaces=[tiny]", "num_keypoints=[5]", f"output={tmp_path}")
    table = run_script("estimate_tables", *estimated, *workspace)
    assert table.status == 0, table.stderr
    device = ("device=raspberry_pi_4b", f"device.table={tmp_path / 'raspberry_pi_4b.csv'}", "tier=s")
    exported = run_script("export", *workspace, *quick_evaluation, *device, "arch=smallest")
    assert exported.status == 0, exported.stderr
    (folder,) = (path.parent for path in (tmp_path / "run" / "export" / "raspberry_pi_4b").glob("*/subnet.yaml"))
    usage = yaml.safe_load((folder / "subnet.yaml").read_text())
    expected = Skeleton.from_dict({"name": "star", **STAR})
    assert Skeleton.from_dict(usage["skeleton"]) == expected
    assert read_skeleton(folder / "weights.safetensors") == expected
    assert [head["shape"][1] for head in usage["outputs"].values()] == [10, 5]


def test_splits_by_holdout_are_apart(compose_config: Any, own: tuple[str, ...]) -> None:
    cfg = compose_config("train", *own)
    splits = {split: data.load_split(cfg, split) for split in ("train", "search", "val")}
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 6, "search": 3, "val": 3}
    for one, other in itertools.combinations(splits.values(), 2):
        assert not set(one.file_names) & set(other.file_names)
    assert data.build_skeleton(cfg) == Skeleton.from_dict({"name": "star", **STAR})


@pytest.fixture
def supernet_with(trained: Path) -> Any:
    """Write the trained supernet again with another description."""
    path = trained / "supernet" / "supernet.safetensors"

    def write(info: dict[str, Any], skeleton: Skeleton | None = None) -> Path:
        save_supernet(path, load_supernet(path), info, skeleton=skeleton)
        return path

    return write


def test_a_supernet_of_other_keypoints_is_refused_by_name(
    compose_config: Any, supernet_with: Any, trained: Path
) -> None:
    names = ["neck" if name == "head" else "head" if name == "neck" else name for name in CROWDPOSE.keypoints]
    other = Skeleton("mine", tuple(names), CROWDPOSE.limbs, CROWDPOSE.sigmas, "box", CROWDPOSE.flip_pairs)
    cfg = compose_config("evaluate", f"workspace={trained}")
    device = networks.build_device(cfg)
    path = supernet_with({}, other)
    message = f"{path}: is a supernet of the skeleton mine, which has 'neck' as keypoint 12, not 'head'"
    with pytest.raises(InputError, match=message):
        networks.load_trained_supernet(cfg, device)
    for skeleton in (None, CROWDPOSE):
        supernet_with({}, skeleton)
        assert networks.load_trained_supernet(cfg, device).num_keypoints == 14


def test_a_supernet_is_not_measured_on_images_it_was_trained_on(
    compose_config: Any, supernet_with: Any, trained: Path
) -> None:
    def compose(seed: int) -> Any:
        cfg = compose_config("evaluate", f"workspace={trained}")
        cfg.dataset.search = {"holdout_fraction": 0.25, "seed": seed}
        return cfg

    record = data.build_splits(compose(0)).held_out()
    path = supernet_with({"dataset": "people", "held_out": record})
    device = networks.build_device(compose(0))
    networks.load_trained_supernet(compose(0), device)
    with pytest.raises(InputError, match=f"{path}: has seen images of the split search: it was trained with"):
        networks.load_trained_supernet(compose(1), device)
    supernet_with({"dataset": "others", "held_out": record})
    networks.load_trained_supernet(compose(1), device)
    supernet_with({"dataset": "people"})
    networks.load_trained_supernet(compose(1), device)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("search", {"holdout_images": 3, "holdout_fraction": 0.1, "seed": 0}, "dataset.search.holdout_images and"),
        ("search", {"holdout_images": 3}, "dataset.search.seed is missing"),
        ("val", {"annotations": "a.json"}, "dataset.val.images is missing"),
        ("train", {"holdout_images": 3, "seed": 0}, "dataset.train is a holdout; it must have annotations and images"),
        ("skeleton", None, "unknown skeleton None; known: coco, crowdpose"),
        ("skeleton", {**STAR, "sigmas": [0.1]}, "dataset.skeleton: sigmas is .*; it must be 5 numbers above 0"),
        ("skeleton", {"keypoints": ["a"]}, "dataset.skeleton: limbs is missing"),
    ],
)
def test_what_is_wrong_in_a_dataset_s_yaml_is_named(compose_config: Any, key: str, value: Any, message: str) -> None:
    cfg = compose_config("train")
    cfg.dataset[key] = value
    with pytest.raises(InputError, match=message):
        data.load_split(cfg, "search")
