"""Bad input to a verb is one line that names it, with status 2, and no result is written."""

import shutil
from pathlib import Path
from typing import Any

import pytest

GIVEN: dict[str, str] = {
    "build_table": "name=board kit={workspace}",
    "evaluate": "arch=smallest",
    "export": "device=raspberry_pi_4b tier=m",
    "finetune": "device=raspberry_pi_4b tier=m training.batch_size=2 training.steps=2",
    "measure_decoding": "name=laptop output={workspace}/costs",
    "predict": "input={data} model={workspace}/supernet/supernet.safetensors arch=smallest output={workspace}/out",
    "profile": "output={workspace}/kit",
    "rank_fidelity": "training.batch_size=2 training.steps=2",
    "search": "evaluator=published",
}
"""What each verb is given besides its workspace; what a case says wins."""

CASES = [
    ("build_table", "kit=nowhere", "nowhere"),
    ("estimate_tables", "+device.name=toaster", "unknown device 'toaster'; known: snapdragon_855"),
    ("evaluate", "arch=none.json", "none.json: no such file"),
    ("evaluate", "image_size=100", "img_size is 100; it must be a multiple of 16"),
    ("evaluate", "image_size=64 arch=largest", "arch largest at 64 px is not in the space 'tiny'"),
    ("evaluate", "space=litepose", "supernet.safetensors: is a supernet of the space 'tiny', not 'litepose'"),
    ("evaluate", "dataset.skeleton=coco", "is a supernet of 14 keypoints; dataset.skeleton coco has 17"),
    ("evaluate", "workspace={workspace}/none", "train first"),
    ("evaluate", "weights=none.safetensors", "none.safetensors: no such file"),
    ("evaluate", "weights={workspace}/supernet/supernet.safetensors", "holds a supernet, not a subnet"),
    ("export", "formats=[onnx,onnx]", "it must be a list of different names"),
    ("export", "device.decoding=none.yaml", "none.yaml"),
    ("export", "tier=xl", "chosen.json: no such file; search first"),
    ("finetune", "tier=xl", "chosen.json: no such file; search first (litepose search device=... tier=xl)"),
    ("finetune", "start=m/model.onnx", "start is 'm/model.onnx'; it must be supernet, scratch, a file of weights, an"),
    ("finetune", "start=missing.safetensors", "missing.safetensors: no such file"),
    ("finetune", "arch=other.json start=supernet", "other.json: no such file"),
    ("fit", "", "samples.json: no such file"),
    ("fit", "predictor=oracle", "predictor is 'oracle'; it must be one of auto, ridge, gaussian_proc"),
    ("measure_decoding", "people_counts=[3]", "people_counts is (3,); it must be ascending numbers"),
    ("predict", "~input", "input is missing"),
    ("predict", "input={workspace}/search", "search: holds no pictures"),
    ("predict", "input=none.mp4", "none.mp4: no such file"),
    ("predict", "output={data}/out", "it must be outside of the input"),
    ("predict", "input={workspace}/out/clip.mp4", "it must be another folder than the video's"),
    ("profile", "runtime=tvm", "unknown runtime 'tvm'; known: "),
    ("rank_fidelity", "top_k=9", "top_k is 9; it must be at most num_subnets, 8"),
    ("search", "device=toaster", "jetson_nano, raspberry_pi_4b, snapdragon_855"),
    ("search", "devices=[jetson_nano,toaster]", "device is 'toaster'; it must be one of "),
    ("search", "devices=[jetson_nano,jetson_nano]", "it must be a list of different names"),
    ("search", "tiers=[s,s]", "tiers is ['s', 's']; it must be a list of different names"),
    ("search", "tiers=[s,m] budget_ms=3", "budget_ms is 3; it must be null where tiers has the budgets"),
    (
        "search",
        "devices=[jetson_nano,raspberry_pi_4b] tiers=[s,m] goal=shared",
        "front where a device has several tiers",
    ),
    ("search", "goal=shared", "goal is 'shared'; it must be front, as there is one device"),
    ("search", "fps=30 budget_ms=3", "budget_ms is 3; it must be null where fps is given"),
    ("search", "max_params=10", "max_params of 10 is below what any subnet of space 'tiny' takes: the least possible"),
    ("search", "device.name=mine", "device mine has no budgets of its own; give budget_ms="),
    ("search", "device.table=mine", "unknown latency table 'mine'; shipped:"),
    ("search", "warm_start=nowhere", "nowhere/chosen.json: no such file; search first"),
    ("search", "storage=oracle9://host/name tier=s", "oracle9://host/name: the study's storage failed"),
    ("sensitivity", "base=huge", "arch is 'huge'; it must be smallest, largest or a .json or .yaml file"),
    ("train", "workspace={workspace}/supernet/supernet.safetensors", "supernet.safetensors"),
    ("train", "workspace=${{nowhere}}", "nowhere"),
    ("train", "training.batch_size=13", "batch_size is 13; the training split has only 12 images"),
    ("train", "init_from=weights.safetensors", "weights.safetensors: no such file"),
]


@pytest.fixture(scope="module")
def workspace(_searched: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(_searched[0], tmp_path_factory.mktemp("refusals") / "workspace"))


def results(folder: Path) -> list[Path]:
    records = ("run.json", ".lock")
    return sorted(path for path in folder.rglob("*.*") if path.suffix != ".log" and path.name not in records)


@pytest.mark.parametrize(("verb", "overrides", "told"), CASES)
def test_bad_input_is_one_line_and_nothing_is_written(
    run_script: Any, data_root: Path, workspace: Path, verb: str, overrides: str, told: str
) -> None:
    before = results(workspace)
    given = f"{GIVEN.get(verb, '')} {overrides}".format(workspace=workspace, data=data_root / "people/images/val")
    assert told in run_script(verb, f"workspace={workspace}", *given.split()).refusal
    assert results(workspace) == before
