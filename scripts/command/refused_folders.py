"""A run that is refused leaves no folder behind: Hydra makes the run folder before the task can refuse anything."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from litepose_ofa.search.workspace import SWEEP_RECORD

_new_folders: list[Path] = []


class NoteNewFolders(Callback):
    """Notes the folder that a run or a sweep is about to make, or its first parent that is new; see ``conf/base.yaml``.

    Hydra calls its methods.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: D102
        _note(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: D102
        _note(config, "hydra.sweep.dir")


@contextmanager
def no_folder_of_a_refusal() -> Iterator[None]:
    """Remove the folders that were made for the block, as far as they are empty, if it ends with an exception."""
    _new_folders.clear()
    try:
        yield
    except BaseException:
        for folder in _new_folders:
            _remove_empty(folder)
        raise


def remove_if_empty(folder: Path, top: Path) -> None:
    """Remove a folder that holds nothing but empty logs, and then its parents below ``top``."""
    while folder != top and top in folder.parents and _remove_empty(folder):
        folder = folder.parent


def _note(config: DictConfig, key: str) -> None:
    with suppress(OmegaConfBaseException):  # Hydra resolves it again, and is told then
        path = Path(OmegaConf.select(config, key)).absolute()
        while not path.parent.exists():
            path = path.parent
        if not path.exists():
            _new_folders.append(path)


def _remove_empty(folder: Path) -> bool:
    """Remove what is empty in a folder, logs too, and it itself if then nothing is left; say whether so."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                _remove_empty(entry)
        left = list(folder.iterdir())
        if all(entry.is_file() and _says_nothing(entry) for entry in left):
            for entry in left:
                entry.unlink()
            folder.rmdir()
            return True
    return False


def _says_nothing(file: Path) -> bool:
    return file.name == SWEEP_RECORD or (file.suffix == ".log" and file.stat().st_size == 0)
