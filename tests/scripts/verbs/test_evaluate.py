"""Networks are measured wherever they come from; the files say what on, and are worth the numbers in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE
from litepose_ofa.supernet.evaluation import evaluate_keypoints
from litepose_ofa.supernet.evaluation.intervals import ResampledAP
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.files import read_json, write_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_supernet, save_network, weights_digest
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose


@pytest.fixture
def subnet_file(trained: Path) -> Path:
    """The smallest subnet of the trained workspace, in a file of its own."""
    supernet = load_supernet(trained / "supernet" / "supernet.safetensors")
    path = trained / "finetune" / "subnet.safetensors"
    save_network(path, extract_subnet(supernet, supernet.space.smallest()), skeleton=CROWDPOSE)
    return path


@pytest.fixture
def evaluate(run_script: Any, quick_evaluation: tuple[str, ...], trained: Path) -> Any:
    given = (f"workspace={trained}", *quick_evaluation, "resamples=20")
    return lambda *overrides: run_script("evaluate", *given, *overrides)


def record_in(workspace: Path) -> dict[str, Any]:
    """The one record of a workspace, without the config in it."""
    (path,) = (workspace / "evaluations").glob("*_val.json")
    record: dict[str, Any] = read_json(path)
    del record["run"]
    return record


def test_interval_breakdown_and_results_are_of_the_record(evaluate: Any, trained: Path, data_root: Path) -> None:
    outcome = evaluate("arch=smallest", "breakdown=true", "save_results=true")
    printed, record = outcome.printed, record_in(trained)
    interval = record["ap_interval"]
    assert interval["resamples"] == 20
    assert 0 <= interval["low"] <= interval["high"] <= 1
    shown = " ({low:.1f}-{high:.1f}) ".format(**{key: 100 * interval[key] for key in ("low", "high")})
    assert f"AP {100 * record['metrics']['AP']:.1f}{shown}AP50" in printed

    pck, found = record["pck"], record.pop("found")
    shown = "{:.1f} ({:.1f}-{:.1f}) ".format(
        *(100 * value for value in (pck["all"]["value"], pck["all"]["interval"]["low"], pck["all"]["interval"]["high"]))
    )
    assert f"PCK@0.2 {shown}(network" in printed
    assert list(pck["keypoints"]) == list(CROWDPOSE.keypoints)
    assert f"% of {found['people']['total']} people with 8 keypoints and 0.3 of the picture's height" in printed
    assert found["people_free"] is None

    breakdown = record.pop("breakdown")
    assert list(breakdown) == ["keypoints", "sizes", "crowding"]
    assert list(breakdown["keypoints"]) == list(CROWDPOSE.keypoints)
    lines = [line.split() for line in printed.splitlines()]
    assert ["keypoint", "labelled", "similarity", "recall"] in lines
    assert {line[0] for line in lines if line} >= set(CROWDPOSE.keypoints)

    (results,) = (trained / "evaluations").glob("results_val_*.json")
    assert str(results) in printed
    annotations = data_root / "people" / "annotations" / "val.json"
    metrics = evaluate_keypoints(annotations, read_json(results), CROWDPOSE)
    assert metrics == pytest.approx(record["metrics"], abs=1e-6)

    assert evaluate("arch=smallest", "resamples=0").status == 0
    del record["coco_eval"]
    again = record_in(trained)
    assert again.pop("pck")["all"] == {**record.pop("pck")["all"], "interval": None}
    assert again == record | {"ap_interval": None, "resampled": None}


def test_another_network_is_compared_on_the_same_images(evaluate: Any, trained: Path) -> None:
    """The first has nothing beside it; a file of other images, or of another seed's draws, is passed over."""
    assert "against" not in evaluate("arch=smallest").printed
    (first,) = (trained / "evaluations").glob("*_val.json")
    printed = evaluate("arch=largest").printed
    (second,) = {*(trained / "evaluations").glob("*_val.json")} - {first}
    theirs, ours = (ResampledAP(**read_json(path)["resampled"]) for path in (first, second))
    difference, interval = ours.minus(theirs)
    shown = f"{100 * difference:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
    assert f"AP {shown} against {first.name.removesuffix('_val.json')}, the best other network here" in printed
    assert "against" not in evaluate("arch=largest", "seed=5").printed


def test_results_are_of_the_dataset_s_own_category(evaluate: Any, trained: Path, own_data_root: Path) -> None:
    path = own_data_root / "people" / "annotations" / "val.json"
    content = read_json(path)
    category = content["categories"][0]
    content["categories"] = [{**category, "id": 7}, {**category, "id": 8}]
    for number, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = 7 + (number == 0)
    write_json(path, content)
    saved = ("arch=smallest", "save_results=true", "evaluation.threshold=0", "resamples=0")
    printed = evaluate(f"data_root={own_data_root}", *saved).printed
    assert "for this AP, COCOeval needs the record's kpt_oks_sigmas" in printed
    (results,) = (trained / "evaluations").glob("results_val_*.json")
    assert {person["category_id"] for person in read_json(results)} == {7}
    assert record_in(trained)["coco_eval"] == {"kpt_oks_sigmas": list(CROWDPOSE.sigmas)}


def test_a_file_s_network_is_measured_as_it_is(evaluate: Any, trained: Path, subnet_file: Path) -> None:
    assert evaluate(f"weights={subnet_file}").status == 0
    network = load_subnet(subnet_file)
    record = read_json(trained / "evaluations" / f"{network.arch.digest}_{weights_digest(network)}_val.json")
    assert record["arch"] == network.arch.to_dict()
    assert record["measured_on"]["weights"] == weights_digest(network)
    assert "bn" not in record["measured_on"]
    config = record["run"]["config"]
    assert (config["weights"], config["split"]) == (str(subnet_file), "val")
    bigger = evaluate(f"weights={subnet_file}", "image_size=128", f"hydra.run.dir={trained / 'bigger'}")
    assert bigger.status == 0
    (path,) = (trained / "bigger").glob("*_val.json")
    assert read_json(path)["arch"]["img_size"] == 128


def test_weights_need_no_supernet_and_may_come_in_a_folder_or_with_an_arch(
    evaluate: Any, trained: Path, subnet_file: Path, tmp_path: Path
) -> None:
    network, images = load_subnet(subnet_file), np.zeros((0, 3, 96, 96), np.float32)
    folder = tmp_path / "export"
    write_bundle(folder, network, skeleton=CROWDPOSE, images=images, formats=(), facts={})
    subnet_file.unlink()
    (trained / "supernet").rename(tmp_path / "elsewhere")
    assert evaluate(f"weights={folder}").status == 0
    record = record_in(trained)
    assert evaluate(f"weights={folder / 'weights.safetensors'}", f"arch={folder / 'arch.json'}").status == 0
    assert record_in(trained) == record


def test_weights_that_do_not_fit_are_named(evaluate: Any, subnet_file: Path, tmp_path: Path) -> None:
    arch = load_subnet(subnet_file).arch
    names = [f"joint_{number}" for number in range(14)]
    others = CROWDPOSE.to_dict() | {"name": "other", "keypoints": names, "limbs": [], "flip_pairs": []}
    save_network(tmp_path / "other.safetensors", LitePose(arch), skeleton=type(CROWDPOSE).from_dict(others))
    arch.save(tmp_path / "arch.json")
    for more in ((), (f"arch={tmp_path / 'arch.json'}",)):
        told = evaluate(f"weights={tmp_path / 'other.safetensors'}", *more).refusal
        assert "other.safetensors: the skeletons crowdpose and other share no keypoint" in told
    arch.with_image_size(64).save(tmp_path / "other.json")
    told = evaluate(f"weights={subnet_file}", f"arch={tmp_path / 'other.json'}").refusal
    assert "it must be null, or a file of the architecture that" in told


def change_val(root: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the annotations that are measured on; returned is the override that names their folder."""
    path = root / "people" / "annotations" / "val.json"
    content = read_json(path)
    change(content)
    write_json(path, content)
    return f"data_root={root}"


def test_a_network_of_another_skeleton_is_compared_by_shared_keypoints(
    evaluate: Any, trained: Path, subnet_file: Path, own_data_root: Path
) -> None:
    """The record says which; another network's of all keypoints is not set beside it; COCO's results cannot be."""

    def as_coco(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 1, "name": "person", "keypoints": list(COCO.keypoints)}]
        for person in content["annotations"]:
            person["keypoints"] = [0] * 15 + person["keypoints"][:36]

    given = (f"weights={subnet_file}", change_val(own_data_root, as_coco), "dataset.skeleton=coco")
    told = evaluate(*given, "save_results=true").refusal
    assert "save_results is True; it must be false: crowdpose has 12 of the 17 keypoints of coco" in told
    assert not (trained / "evaluations").exists()
    outcome = evaluate(*given)
    told = "the network, of crowdpose, is compared by 12 of the 17 keypoints of coco: left_shoulder, right_shoulder"
    assert told in outcome.printed
    record = record_in(trained)
    assert record["measured_on"]["keypoints"] == list(record["pck"]["keypoints"]) == list(COCO.keypoints[5:])
    assert record["macs"] == measure_complexity(load_subnet(subnet_file).arch, 14).macs


def test_a_split_without_people_tells_how_many_are_found(
    evaluate: Any, trained: Path, subnet_file: Path, own_data_root: Path
) -> None:
    given = (change_val(own_data_root, lambda content: content.update(annotations=[])), "found.score=0")
    printed = evaluate(f"weights={subnet_file}", *given).printed
    record = record_in(trained)
    assert record["metrics"] == {}
    assert "absent" in record["pck"]
    assert record["found"]["people"] is None
    assert record["found"]["people_free"]["total"] == 4
    assert "people are found on each of 4 pictures without people at score 0 and above" in printed
    assert "4 images of val: nobody to find (network" in printed
    assert "no labelled person in the 4 images" in evaluate("arch=smallest", *given).refusal
