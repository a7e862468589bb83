"""The commands and Python of README and docs, run: the tutorial's in order, the others' on what it leaves."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from litepose_ofa.scripts.command import main as litepose

pytestmark = pytest.mark.slow

TUTORIAL = "docs/tutorial.md"

QUICK = ("threads=1", "evaluation.bn_images=4", "evaluation.bn_batch_size=2")
TRAINING = (
    *("threads=1", "training.steps=12", "training.batch_size=2", "training.checkpoint_every=6"),
    *("training.log_every=6", "training.validate_every=0"),
)
SMALL: dict[str, tuple[str, ...]] = {
    "generate-people": ("images.train=24", "images.search=8", "images.val=8", "workers=1"),
    "check-dataset": ("workers=1",),
    "train": TRAINING,
    "evaluate": (*QUICK, "resamples=10"),
    "sample": (*QUICK, "num_subnets=10", "refine.batch=2", "refine.budget=0"),
    "fit": ("threads=1", "folds=3", "repeats=1", "predictor=ridge"),
    "search": (
        *(*QUICK, "search.first=8", "search.batch=8", "search.generations=1"),
        *("search.evolution.population=20", "search.evolution.generations=5"),
    ),
    "export": (*QUICK, "checked_images=2"),
    "finetune": (*QUICK, *TRAINING),
    "predict": QUICK,
    "report": ("threads=1",),
    "profile": ("space=tiny", "sample=0.02", "networks=2"),
    "rank-fidelity": (*QUICK, *TRAINING, "num_subnets=3", "top_k=1"),
    "sensitivity": QUICK,
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
    shown = {"--cfg", "--help"} & set(command.arguments)
    small = () if shown else (*SMALL.get(command.verb, ()), *(ASHA if "tune=asha" in command.arguments else ()))
    with started_in(folder, (command.verb, *command.arguments, *small)):
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
    made = ["supernet/supernet.safetensors", "accuracies/accuracies.jsonl", "report/summary.csv"]
    assert [path for path in made if not (workspace / path).exists()] == []
    cells = sorted(path.parts[-3:-1] for path in workspace.glob("export/*/*/arch.json"))
    assert cells == [*product(("host_cpu", "jetson_nano", "raspberry_pi_4b"), ("l", "m", "s", "xs"))]
    summary = pd.read_csv(workspace / "report" / "summary.csv")
    assert sorted(zip(summary["device"], summary["tier"], strict=True)) == cells
    assert summary["bit_equal"].all()
    assert (summary["onnx_max_abs_difference"] <= 1e-4).all()
    assert (summary["latency_ms"] <= summary["budget_ms"]).all()
    assert summary["ap_val"].between(0, 1).all()


@pytest.fixture
def folder(finished: Path, shown_files: Path, tmp_path: Path) -> Path:
    """A copy of that folder, with the files that the pages show."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    return Path(shutil.copytree(shown_files, tmp_path / "copy", dirs_exist_ok=True))


def test_the_commands_of_a_page_run(running_page: str, folder: Path, all_commands: list[Any]) -> None:
    for command in all_commands:
        if command.page == running_page and command.runs:
            run(command, folder)


def test_the_python_of_a_page_runs(python_page: str, folder: Path, all_blocks: list[Any]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with started_in(folder, ()):
        for block in all_blocks:
            if block.page == python_page and block.language == "python" and block.needs is None:
                exec(compile(block.text, f"{python_page}:{block.line}", "exec"), names)
