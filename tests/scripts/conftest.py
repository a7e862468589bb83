"""Scripts as a user starts them: rendered people on disk, a trained workspace, a call that returns what was printed."""

import importlib
import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split

QUICK_TRAINING = (
    "threads=1",
    "training.steps=6",
    "training.batch_size=2",
    "training.checkpoint_every=2",
    "training.log_every=1",
    "training.validate_every=0",
)
QUICK_EVALUATION = ("threads=1", "evaluation.bn_images=4", "evaluation.bn_batch_size=2")


@dataclass(frozen=True)
class Outcome:
    """What a script left behind: exit status (0 if it returned) and what it printed."""

    status: int | str | None
    stdout: str
    stderr: str

    @property
    def printed(self) -> str:
        """What a script printed that has to succeed."""
        assert self.status == 0, self.stderr
        return self.stdout

    @property
    def refusal(self) -> str:
        """The one line that a script refused its input with."""
        assert self.status == 2, self.stderr
        assert re.fullmatch(r"error: [^\n]+\n", self.stderr), self.stderr
        return self.stderr


RunScript = Callable[..., Outcome]
Compose = Callable[..., DictConfig]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets with one of rendered people, to be read only."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 12), ("search", 4), ("val", 4)):
        generate_split(root / "people", split, count, 0, PeopleSettings(image_size=(96, 96)), CROWDPOSE)
    return root


@pytest.fixture
def own_data_root(data_root: Path, tmp_path: Path) -> Path:
    """A copy of ``data_root`` that the test may change."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


@contextmanager
def called_as(name: str, arguments: tuple[str, ...]) -> Iterator[None]:
    """Set the command line, and undo what a Hydra app does to logging and the environment."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
        try:
            yield
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)


@pytest.fixture(scope="session")
def start_script(data_root: Path) -> Callable[..., None]:
    """Run a script in this process on the rendered people; later overrides win."""

    def start(name: str, *overrides: str) -> None:
        main = importlib.import_module(f"litepose_ofa.scripts.verbs.{name}").main
        threads = torch.get_num_threads()
        with called_as(name, (f"data_root={data_root}", *overrides)):
            try:
                main()
            finally:
                torch.set_num_threads(threads)  # the script's own number rounds differently in what follows

    return start


@pytest.fixture
def run_script(capsys: pytest.CaptureFixture[str], start_script: Callable[..., None]) -> RunScript:
    """Run a script as ``start_script`` does; return what it left behind."""

    def run(name: str, *overrides: str) -> Outcome:
        status: int | str | None = 0
        capsys.readouterr()
        try:
            start_script(name, *overrides)
        except SystemExit as exit:
            status = exit.code
        printed = capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, start_script: Callable[..., None]) -> Path:
    workspace = tmp_path_factory.mktemp("workspace")
    start_script("train", f"workspace={workspace}", *QUICK_TRAINING)
    return workspace


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A workspace with a supernet of the tiny space, trained for six steps; a copy that the test may change."""
    return Path(shutil.copytree(_trained, tmp_path / "trained"))


@pytest.fixture
def quick_training() -> tuple[str, ...]:
    """Overrides under which the default training takes a moment."""
    return QUICK_TRAINING


@pytest.fixture
def quick_evaluation() -> tuple[str, ...]:
    """Overrides under which a subnet is measured in a moment."""
    return QUICK_EVALUATION


@pytest.fixture
def compose_config(data_root: Path) -> Compose:
    """Compose the config of a script as its Hydra app would."""

    def make(name: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            return compose(name, [f"data_root={data_root}", *overrides])

    return make
