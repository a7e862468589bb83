"""The commands and Python of README and docs, run: the tutorial's in order, the others' on what it leaves."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.scripts.command import main as litepose
from litepose_ofa.scripts.command.table import CONFIGURED, module_name

pytestmark = pytest.mark.slow

TUTORIAL = "docs/tutorial.md"

ONE_THREAD = ("threads=1",)
TRAINING = (
    "training.steps=12",
    "training.batch_size=2",
    "training.checkpoint_every=6",
    "training.log_every=6",
    "training.validate_every=0",
)
BN = ("evaluation.bn_images=4", "evaluation.bn_batch_size=2")
SMALL: dict[str, tuple[str, ...]] = {
    "generate-people": ("images.train=24", "images.search=8", "images.val=8", "workers=1"),
    "check-dataset": ("workers=1",),
    "train": (*ONE_THREAD, *TRAINING),
    "evaluate": (*ONE_THREAD, *BN, "resamples=10"),
    "sample": (*ONE_THREAD, *BN, "num_subnets=10", "refine.batch=2", "refine.budget=0"),
    "fit": (*ONE_THREAD, "folds=3", "repeats=1", "predictor=ridge"),
    "search": (
        *(*ONE_THREAD, *BN, "search.first=8", "search.batch=8", "search.verify_top=1"),
        *("search.generations=1", "search.evolution.population=20", "search.evolution.generations=5"),
    ),
    "export": (*ONE_THREAD, *BN, "checked_images=2"),
    "finetune": (*ONE_THREAD, *TRAINING, *BN),
    "predict": (*ONE_THREAD, *BN),
    "report": ONE_THREAD,
    "profile": ("space=tiny", "sample=0.02", "networks=2"),
    "validate-table": (),
    "measure-decoding": ("image_sizes=[96]", "people_counts=[0,1,2]", "scenes=1", "rounds=2"),
    "rank-fidelity": (*ONE_THREAD, *TRAINING, *BN, "num_subnets=3", "top_k=1"),
    "sensitivity": (*ONE_THREAD, *BN),
}
"""What makes each verb take seconds; written behind the arguments of a command, it wins."""

ASHA = ("tune.candidates=1", "tune.num_samples=2", "tune.max_concurrent=1")


@contextmanager
def started_in(folder: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Set working folder and command line, and undo what an app does to the process."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["litepose", *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        yield
    torch.set_num_threads(threads)


def run(command: Any, folder: Path) -> None:
    """Run a command, made small, as ``litepose`` would in a folder."""
    by_module = {module_name(verb): verb for verb in CONFIGURED}
    verb = by_module.get(command.verb, command.verb)
    shown = {"--cfg", "--help"} & set(command.arguments)
    small = () if shown else (*SMALL.get(verb, ()), *(ASHA if "tune=asha" in command.arguments else ()))
    with started_in(folder, (verb, *command.arguments, *small)):
        status: int | str | None = 0
        try:
            litepose.main()
        except SystemExit as exit:
            status = exit.code
    assert status in (0, None), f"{command}\n    ended with status {status}"


@pytest.fixture(scope="module")
def finished(all_commands: list[Any], root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tutorial was followed."""
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "docs").symlink_to(root / "docs")
    for command in all_commands:
        if command.page == TUTORIAL and command.runs:
            run(command, folder)
    return folder


def test_the_tutorial_leaves_what_it_says(finished: Path) -> None:
    workspace = finished / "runs" / "tiny-people"
    made = ["supernet/supernet.safetensors", "accuracies/samples.json", "predictor/quality.json", "report/summary.csv"]
    assert [path for path in made if not (workspace / path).exists()] == []
    cells = sorted(
        str(path.parent.relative_to(workspace / "export")) for path in workspace.glob("export/*/*/arch.json")
    )
    assert cells == [
        f"{d}/{t}" for d in ("jetson_nano", "raspberry_pi_4b", "snapdragon_855") for t in ("l", "m", "s", "xs")
    ]


def test_the_commands_of_a_page_run(
    running_page: str, finished: Path, shown_files: Path, all_commands: list[Any], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    shutil.copytree(shown_files, folder, dirs_exist_ok=True)
    for command in all_commands:
        if command.page == running_page and command.runs:
            run(command, folder)


def test_the_python_of_a_page_runs(python_page: str, finished: Path, all_blocks: list[Any]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    before = set(os.listdir(finished))
    with started_in(finished, ()):
        for block in all_blocks:
            if block.page == python_page and block.runs:
                exec(compile(block.text, f"{python_page}:{block.line}", "exec"), names)
    for name in set(os.listdir(finished)) - before:
        (finished / name).unlink()
