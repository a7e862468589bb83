"""Common to all verbs: the Hydra entry, one-line errors with exit status 2, the run folder's record."""

import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm.contrib.logging import logging_redirect_tqdm

from litepose_ofa import conf
from litepose_ofa.scripts.command.help import composed_groups
from litepose_ofa.scripts.command.refused_folders import no_folder_of_a_refusal, remove_if_empty
from litepose_ofa.scripts.settings.config import checked_config, plain_words
from litepose_ofa.scripts.settings.overrides import Keys, prepare
from litepose_ofa.scripts.settings.threads import thread_count
from litepose_ofa.search.workspace import RUN_RECORD
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import locked_folder, read_json, write_json
from litepose_ofa.supernet.validation import Checked

logger = logging.getLogger(__name__)

CONFIG_DIR = str(Path(conf.__file__).parent)
FREE_SETTINGS = (
    *("workspace", "data_root", "dataset.root", "dataset.on_bad_image", "run_folder", "accelerator", "threads"),
    *("training.workers", "training.log_every", "training.checkpoint_every", "evaluation.batch_size", "workers"),
)
"""Settings that may change between two starts of one run: where things are, and how the work is cut up."""

USER_ERRORS = (InputError, OSError, OmegaConfBaseException)

RECORDED_PACKAGES = ("litepose-ofa", "torch", "numpy", "optuna", "ray", "onnxruntime")


class SweepRunError(Exception):
    """A run of a sweep failed and has said why; Hydra goes on with the others, in whatever process they are."""


Task = Callable[[DictConfig], None]


def script(
    config_name: str, model: type[Checked], *, locked: bool = False, takes_workspace: bool = False
) -> Callable[[Task], Callable[[], None]]:
    """Make a Hydra app of a function that takes the composed config, checked against its model.

    Errors that a user can mend (``InputError``, files and disks, config overrides) end the process with one line on
    standard error and status 2, and leave no empty folder behind; anything else is a bug and keeps its traceback.
    Where a run of a sweep fails, the others go on, and the same status comes at the end with a line that names it.
    With ``locked`` a second process in the run folder is refused while the function runs; where the command
    ``takes_workspace``, a folder that stands alone is its workspace.
    """

    def decorate(task: Task) -> Callable[[], None]:
        failed: list[str] = []

        @functools.wraps(task)
        def guarded(cfg: DictConfig) -> None:
            hydra_config = HydraConfig.get()
            is_sweep = hydra_config.mode == RunMode.MULTIRUN
            overrides = " ".join(OmegaConf.to_container(hydra_config.overrides.task))  # type: ignore[arg-type]
            try:
                choices = hydra_config.runtime.choices
                _require_options(choices)
                checked = checked_config(cfg, model, experiment=choices["experiment"])
                lock = locked_folder(run_folder()) if locked else nullcontext()
                with lock, logging_redirect_tqdm():  # log lines go above a progress bar
                    task(checked)
            except USER_ERRORS as error:
                if not is_sweep:
                    _fail(_told(error, config_name))
                failed.append(overrides)
                _complain(f"{overrides}: {_told(error, config_name)}")
                remove_if_empty(run_folder(), Path(hydra_config.sweep.dir).absolute())
                raise SweepRunError(overrides) from None
            except Exception:
                if is_sweep:  # of several failures Hydra would show the first alone
                    failed.append(overrides)
                    logger.exception("%s", overrides)
                raise

        keys = Keys(model, composed_groups(config_name), takes_workspace)
        app = hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name=config_name)(guarded)

        @functools.wraps(task)
        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets its own exceptions through to the lines below
            logging.raiseExceptions = False  # a log file on a full disk is no cause for a traceback
            failed.clear()
            try:
                with no_folder_of_a_refusal():
                    sys.argv[1:] = prepare(sys.argv[1:], keys)
                    app()
            except KeyboardInterrupt:
                logging.shutdown()
                print("interrupted; the same command goes on from here", file=sys.stderr)
                sys.exit(130)
            except SweepRunError as error:  # of the first; a launcher's other processes have said what else failed
                _fail(f"the sweep is done, without: {'; '.join(failed or [str(error)])}")
            except MissingConfigException as error:
                _fail(_unknown_option(error))
            except HydraException as error:
                _fail(str(error).partition("Config search path")[0])  # what follows is a list of folders
            except USER_ERRORS as error:  # Hydra makes the run folder before the task starts
                _fail(_told(error, config_name))

        return main

    return decorate


def _require_options(choices: Mapping[str, str]) -> None:
    """Refuse an option that does not exist in a group whose default goes by the space, where it may be absent."""
    for group in {"training", "evaluation"} & choices.keys():
        options = GlobalHydra.instance().config_loader().get_group_options(group)
        if choices[group] not in (choices["space"], *options):
            raise InputError(f"{group} is {shown(choices[group])}; it must be one of {', '.join(options)}")


def _unknown_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group or error.options is None:
        return str(error).partition("Config search path")[0]
    hint = f"; to compute on it: accelerator={option}" if option in ("cpu", "cuda") else ""
    return f"{group} is {shown(option)}; it must be one of {', '.join(error.options)}{hint}"


def run_folder() -> Path:
    """Return the output folder of the current Hydra run."""
    return Path(HydraConfig.get().runtime.output_dir)


def start_run(cfg: DictConfig, *, artefacts: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> Path:
    """Record config, versions, seed and commit in the run folder; refuse a folder that another config has filled.

    A record binds once one of the run's artefacts exists; before that, and for a script without any, it is replaced.

    Args:
        cfg: The config.
        artefacts: Files or folders, from the run folder, that a later start would go on from.
        ignore: Keys and groups that may change between two starts of this run, beside those of ``FREE_SETTINGS``.

    Raises:
        InputError: If the folder's record has other settings; the message names the first that differ.
    """
    folder = run_folder()
    record = folder / RUN_RECORD
    if record.exists() and any((folder / artefact).exists() for artefact in artefacts):
        config = OmegaConf.to_container(cfg, resolve=True)
        refuse_other_settings(folder, _recorded_config(record), config, free={*FREE_SETTINGS, *ignore})
        before, now = read_json(record).get("threads"), _threads(cfg)
        if before not in (None, now):
            logger.warning("%s: began with threads=%s, now %s: results may round differently", folder, before, now)
    else:
        write_json(record, run_record(cfg))
    return folder


def run_record(cfg: DictConfig) -> dict[str, Any]:
    """Return what a result follows from: config, CPU threads, versions, seed and commit."""
    return {
        "config": OmegaConf.to_container(cfg, resolve=True),
        "threads": _threads(cfg),
        "versions": {package: version(package) for package in RECORDED_PACKAGES},
        "python": sys.version.split()[0],
        "commit": _commit(),
        "overrides": list(HydraConfig.get().overrides.task),
    }


def _threads(cfg: DictConfig) -> int | None:
    """Return the number of threads; None for a verb that computes nothing with torch."""
    return thread_count(cfg.threads) if "threads" in cfg else None


def _recorded_config(record: Path) -> Mapping[str, Any]:
    """Return the config of a run folder's record."""
    try:
        config = read_json(record)["config"]
    except (InputError, KeyError, TypeError):
        config = None
    if not isinstance(config, Mapping):
        again = "remove it to go on with the settings of this start, or the folder to start again"
        raise InputError(f"{record}: is not the record of a run; {again}")
    space = config.get("space")
    if isinstance(space, Mapping) and "choices" in space:  # as 0.1 wrote it before a space was data
        space = {"name": space["name"], **(space["choices"] or SearchSpace.preset(space["name"]).to_dict())}
        return {**config, "space": space}
    return config


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came; a second SIGINT acts at once.

    A scheduler that signals every process, and a launcher that passes the signal on, make two SIGTERMs of one.
    """
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    before = {kind: signal.signal(kind, note) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def refuse_other_settings(folder: Path, before: object, now: object, *, free: set[str]) -> None:
    """Raise ``InputError`` naming up to three settings that differ between a run folder's record and this start."""
    old, new = dict(_flatten(before)), dict(_flatten(now))
    bound = (key for key in sorted({*old, *new} - free) if key.partition(".")[0] not in free)
    changed = [key for key in bound if old.get(key) != new.get(key)]
    if changed:
        shown = "; ".join(f"{key} was {old.get(key)!r}, is {new.get(key)!r}" for key in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise InputError(f"{folder} holds a run with other settings ({shown}{more}); set hydra.run.dir or remove it")


def _flatten(value: object, prefix: str = "") -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in _flatten(item, f"{prefix}{key}.")]
    return [(prefix.rstrip("."), value)]


def _commit() -> str | None:
    """Return the git commit of the source tree; None if this file is not in a repository, as when installed."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here.parent, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") or None if git("ls-files", here.name) else None
    except FileNotFoundError:
        return None


def _told(error: Exception, config_name: str) -> str:
    """Return what a user is told of an error; the name of the config stands for a file that it does not name."""
    if isinstance(error, OSError):
        return f"{error.filename or config_name}: {error.strerror or ' '.join(map(str, error.args))}"
    return plain_words(error)


def _complain(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def _fail(message: str) -> NoReturn:
    logging.shutdown()
    _complain(message)
    sys.exit(2)
