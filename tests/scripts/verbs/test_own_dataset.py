"""A dataset of one's own from one YAML: five keypoints, files and holdouts, from training to export."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from litepose_ofa.scripts.build import data, networks
from litepose_ofa.supernet.data.skeletons import CROWDPOSE, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import load_supernet, read_skeleton, save_network

KEPT = ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")
STAR = {
    "keypoints": ["crown", "left_hand", "right_hand", "left_foot", "right_foot"],
    "limbs": [["crown", "left_hand"], ["crown", "right_hand"], ["crown", "left_foot"], ["crown", "right_foot"]],
    "flip_pairs": [["left_hand", "right_hand"], ["left_foot", "right_foot"]],
    "sigmas": [0.08, 0.06, 0.06, 0.09, 0.09],
    "area": "annotation",
}


@pytest.fixture
def own(own_data_root: Path, tmp_path: Path) -> tuple[str, ...]:
    """Overrides for a dataset of rendered people with five of their keypoints; search and val are held out."""
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
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "star.yaml").write_text(yaml.safe_dump(settings))
    return (f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "dataset=star", "threads=1")


def test_five_keypoints_from_training_to_export(
    run_script: Any, own: tuple[str, ...], quick_training: Any, quick_evaluation: Any, tmp_path: Path
) -> None:
    def run(verb: str, *overrides: str) -> None:
        assert run_script(verb, *own, f"workspace={tmp_path / 'run'}", *overrides).status == 0

    run("check_dataset")
    run("train", *quick_training, "training.steps=2")
    supernet = load_supernet(tmp_path / "run" / "supernet" / "supernet.safetensors")
    assert supernet.num_keypoints == 5
    run("evaluate", *quick_evaluation, "arch=smallest")
    result = json.loads(next((tmp_path / "run" / "evaluations").glob("*_val.json")).read_text())
    assert 0 <= result["metrics"]["AP"] <= 1
    assert result["measured_on"]["num_images"] == 3
    estimated = ("device=raspberry_pi_4b", "spaces=[tiny]", "num_keypoints=[5]", f"output={tmp_path}")
    run("estimate_tables", *estimated)
    device = ("device=raspberry_pi_4b", f"device.table={tmp_path / 'raspberry_pi_4b.csv'}", "tier=s")
    run("export", *quick_evaluation, *device, "arch=smallest")
    (folder,) = (path.parent for path in (tmp_path / "run" / "export" / "raspberry_pi_4b").glob("*/subnet.yaml"))
    usage = yaml.safe_load((folder / "subnet.yaml").read_text())
    expected = Skeleton.from_dict({"name": "star", **STAR})
    assert Skeleton.from_dict(usage["skeleton"]) == expected
    assert read_skeleton(folder / "weights.safetensors") == expected
    assert [head["shape"][1] for head in usage["outputs"].values()] == [10, 5]


def test_a_supernet_of_other_keypoints_or_that_has_seen_the_images_is_refused(
    compose_config: Any, trained: Path
) -> None:
    path = trained / "supernet" / "supernet.safetensors"
    supernet = load_supernet(path)

    def composed(seed: int) -> Any:
        cfg = compose_config("evaluate", f"workspace={trained}")
        cfg.dataset.search = {"holdout_fraction": 0.25, "seed": seed}
        return cfg

    def load(info: dict[str, Any], skeleton: Skeleton | None = CROWDPOSE, seed: int = 0) -> int:
        save_network(path, supernet, info, skeleton=skeleton)
        return networks.load_trained_supernet(composed(seed), torch.device("cpu")).num_keypoints

    names = [{"head": "neck", "neck": "head"}.get(name, name) for name in CROWDPOSE.keypoints]
    other = Skeleton("mine", tuple(names), CROWDPOSE.limbs, CROWDPOSE.sigmas, "box", CROWDPOSE.flip_pairs)
    with pytest.raises(InputError, match=f"{path}: is a supernet of the skeleton mine, which has 'neck' as keypoint"):
        load({}, other)
    assert load({}, None) == load({}) == 14

    record = data.build_splits(composed(0)).held_out()
    load({"dataset": "people", "held_out": record})
    with pytest.raises(InputError, match=f"{path}: has seen images of the split search: it was trained with"):
        load({"dataset": "people", "held_out": record}, seed=1)
    load({"dataset": "others", "held_out": record}, seed=1)
    load({"dataset": "people"}, seed=1)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("search", {"holdout_images": 3, "holdout_fraction": 0.1, "seed": 0}, "dataset.search.holdout_images and"),
        ("search", {"holdout_images": 3}, "dataset.search.seed is missing"),
        ("train", {"holdout_images": 3, "seed": 0}, "dataset.train is a holdout; it must have annotations and images"),
        ("skeleton", {**STAR, "sigmas": [0.1]}, "dataset.skeleton: sigmas is .*; it must be 5 numbers above 0"),
    ],
)
def test_what_is_wrong_in_a_dataset_s_yaml_is_named(compose_config: Any, key: str, value: Any, message: str) -> None:
    cfg = compose_config("train")
    cfg.dataset[key] = value
    with pytest.raises(InputError, match=message):
        data.build_splits(cfg).load("search")
