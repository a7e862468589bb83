"""Networks are measured wherever they come from; the files say what on, and are worth the numbers in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE
from litepose_ofa.supernet.evaluation import evaluate_keypoints
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.files import read_json, write_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_supernet, save_subnet, weights_digest
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose

RunScript = Callable[..., Any]


@pytest.fixture
def subnet_file(trained: Path) -> Path:
    """The smallest subnet of the trained workspace, in a file of its own."""
    supernet = load_supernet(trained / "supernet" / "supernet.safetensors")
    path = trained / "finetune" / "subnet.safetensors"
    save_subnet(path, extract_subnet(supernet, supernet.space.smallest()), skeleton=CROWDPOSE)
    return path


@pytest.fixture
def evaluate(run_script: RunScript, quick_evaluation: tuple[str, ...], trained: Path) -> Callable[..., Any]:
    def run(*overrides: str) -> Any:
        return run_script("evaluate", f"workspace={trained}", *quick_evaluation, "resamples=20", *overrides)

    return run


def without_config(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(path)
    del record["run"]
    return record


def test_the_interval_is_printed_and_written(evaluate: Callable[..., Any], trained: Path) -> None:
    outcome = evaluate("arch=smallest")
    assert outcome.status == 0, outcome.stderr
    (path,) = (trained / "evaluations").glob("*_val.json")
    record = read_json(path)
    interval = record["ap_interval"]
    assert interval["resamples"] == 20
    assert 0 <= interval["low"] <= interval["high"] <= 1
    shown = " ({low:.1f}-{high:.1f}) ".format(**{key: 100 * interval[key] for key in ("low", "high")})
    assert f"AP {100 * record['metrics']['AP']:.1f}{shown}AP50" in outcome.stdout
    assert "breakdown" not in record
    evaluate("arch=smallest", "resamples=0")
    assert without_config(path) == {name: record[name] for name in record if name != "run"} | {"ap_interval": None}


def test_results_are_worth_the_ap_in_the_record(evaluate: Callable[..., Any], trained: Path, data_root: Path) -> None:
    outcome = evaluate("arch=smallest", "save_results=true")
    (record,) = (trained / "evaluations").glob("*_val.json")
    (results,) = (trained / "evaluations").glob("results_val_*.json")
    assert results.name == f"results_val_{record.name.removesuffix('_val.json')}.json"
    assert str(results) in outcome.stdout
    annotations = data_root / "people" / "annotations" / "val.json"
    metrics = evaluate_keypoints(annotations, read_json(results), CROWDPOSE)
    assert metrics == pytest.approx(read_json(record)["metrics"], abs=1e-6)


def test_results_are_of_the_dataset_s_own_category(
    evaluate: Callable[..., Any], trained: Path, own_data_root: Path, complaint: Callable[[Any], str]
) -> None:
    path = own_data_root / "people" / "annotations" / "val.json"
    content = read_json(path)
    content["categories"][0]["id"] = 7
    for number, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = 7 + (number == 0)
    write_json(path, content)
    given = (
        f"data_root={own_data_root}",
        "arch=smallest",
        "save_results=true",
        "+evaluation.threshold=0",
        "resamples=0",
    )
    assert "which 'categories' does not have" in complaint(evaluate(*given))
    content["categories"].append({**content["categories"][0], "id": 8})
    write_json(path, content)
    outcome = evaluate(*given)
    assert outcome.status == 0, outcome.stderr
    assert "for this AP, COCOeval needs the record's kpt_oks_sigmas" in outcome.stdout
    (results,) = (trained / "evaluations").glob("results_val_*.json")
    assert {person["category_id"] for person in read_json(results)} == {7}
    (record,) = (trained / "evaluations").glob("*_val.json")
    assert read_json(record)["coco_eval"] == {"kpt_oks_sigmas": list(CROWDPOSE.sigmas)}


def test_the_breakdown_is_printed_and_written(evaluate: Callable[..., Any], trained: Path) -> None:
    outcome = evaluate("breakdown=true")
    (path,) = (trained / "evaluations").glob("*_val.json")
    breakdown = read_json(path)["breakdown"]
    assert list(breakdown) == ["keypoints", "sizes", "crowding"]
    assert list(breakdown["keypoints"]) == list(CROWDPOSE.keypoints)
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert ["keypoint", "labelled", "similarity", "recall"] in lines
    assert {line[0] for line in lines if line} >= set(CROWDPOSE.keypoints)


def test_a_file_s_network_is_measured_as_it_is(evaluate: Callable[..., Any], trained: Path, subnet_file: Path) -> None:
    outcome = evaluate(f"weights={subnet_file}")
    assert outcome.status == 0, outcome.stderr
    network = load_subnet(subnet_file)
    path = trained / "evaluations" / f"{network.arch.digest}_{weights_digest(network)}_val.json"
    record = read_json(path)
    assert record["arch"] == network.arch.to_dict()
    assert record["measured_on"]["weights"] == weights_digest(network)
    assert "bn" not in record["measured_on"]
    assert record["measured_on"]["split"] == "val"
    config = record["run"]["config"]
    assert (config["weights"], config["split"]) == (str(subnet_file), "val")
    bigger = evaluate(f"weights={subnet_file}", "image_size=128", f"hydra.run.dir={trained / 'bigger'}")
    assert bigger.status == 0, bigger.stderr
    (path,) = (trained / "bigger").glob("*_val.json")
    assert read_json(path)["arch"]["img_size"] == 128


def test_weights_need_no_supernet_and_may_come_in_a_folder_or_with_an_arch(
    evaluate: Callable[..., Any], trained: Path, subnet_file: Path, tmp_path: Path
) -> None:
    network, images = load_subnet(subnet_file), np.zeros((0, 3, 96, 96), np.float32)
    bundle = {"skeleton": CROWDPOSE, "images": images, "formats": (), "facts": {}}
    folder = write_bundle(tmp_path / "export", network, **bundle).folder
    subnet_file.unlink()
    (trained / "supernet").rename(tmp_path / "elsewhere")
    of_folder = evaluate(f"weights={folder}")
    assert of_folder.status == 0, of_folder.stderr
    (path,) = (trained / "evaluations").glob("*_val.json")
    record = without_config(path)
    of_files = evaluate(f"weights={folder / 'weights.safetensors'}", f"arch={folder / 'arch.json'}")
    assert of_files.status == 0, of_files.stderr
    assert without_config(path) == record


def test_weights_that_do_not_fit_are_named(
    evaluate: Callable[..., Any], trained: Path, subnet_file: Path, tmp_path: Path, complaint: Callable[[Any], str]
) -> None:
    assert "none.safetensors: no such file" in complaint(evaluate("weights=none.safetensors"))
    assert "5: no such file" in complaint(evaluate("weights=5"))
    supernet = trained / "supernet" / "supernet.safetensors"
    assert "holds a supernet, not a subnet" in complaint(evaluate(f"weights={supernet}"))
    arch = load_subnet(subnet_file).arch
    save_subnet(tmp_path / "coco.safetensors", LitePose(arch, 17), skeleton=COCO)
    told = complaint(evaluate(f"weights={tmp_path / 'coco.safetensors'}"))
    assert "is a subnet of 17 keypoints; dataset.skeleton crowdpose has 14" in told
    swapped = CROWDPOSE.to_dict() | {"keypoints": [*CROWDPOSE.keypoints[:-2], "neck", "head"]}
    save_subnet(tmp_path / "swapped.safetensors", LitePose(arch), skeleton=type(CROWDPOSE).from_dict(swapped))
    arch.save(tmp_path / "arch.json")
    for more in ((), (f"arch={tmp_path / 'arch.json'}",)):
        told = complaint(evaluate(f"weights={tmp_path / 'swapped.safetensors'}", *more))
        assert "is a subnet of the skeleton crowdpose, which has" in told
    load_supernet(supernet).space.largest().save(tmp_path / "largest.json")
    told = complaint(evaluate(f"weights={subnet_file}", f"arch={tmp_path / 'largest.json'}"))
    assert "it must be null, or a file of the architecture that" in told
    assert not (trained / "evaluations").exists() or not list((trained / "evaluations").glob("*_val.json"))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("engine=matlab", "engine is 'matlab'; it must be one of pycocotools, faster-coco-eval"),
        ("resamples=-1", "resamples is -1; it must be an integer from 0 to 1000000"),
    ],
)
def test_a_bad_setting_is_named(
    evaluate: Callable[..., Any], override: str, told: str, complaint: Callable[[Any], str]
) -> None:
    assert told in complaint(evaluate("arch=smallest", override))
