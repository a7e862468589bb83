"""Where a search keeps its Optuna study: in memory, in a journal file, or in a database by URL.

One process at a time writes a study. A storage's failure is one line, and the study stays as it was.
"""

import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import naming
from litepose_ofa.supernet.json_lines import read_json_lines, remove_torn_line, sole_user

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

JOURNAL_FILE = "study.log"
MEMORY = "memory"

BULKY = frozenset({"params", "distributions", "user_attrs"})


@contextmanager
def open_storage(location: Path | str, study_name: str) -> Iterator[BaseStorage]:
    """Hold the storage of the study that is to be written for the block, for this process alone.

    It is ``memory``, a URL such as ``sqlite:///studies.db`` or ``postgresql+psycopg://user@host/database``, or the path
    of a journal file. Files are created, or continued.

    Raises:
        InputError: If the storage cannot be reached, is damaged, or another process writes the study.
    """
    if location == MEMORY:
        yield InMemoryStorage()
    elif "://" in str(location):
        with _open_database(str(location), study_name) as storage:
            yield storage
    else:
        path = Path(location)
        with sole_user(path):
            remove_torn_line(path)
            read_json_lines(path)
            try:
                journal = JournalStorage(_SoleUserJournal(path))
            except (AssertionError, KeyError, TypeError, ValueError):
                raise InputError(f"{path}: is not an Optuna journal; remove the file to search again") from None
            yield journal


class _SoleUserJournal(JournalFileBackend):
    """A journal that only this process writes: no lock file that would outlive a kill, no wait for the disk a trial.

    Optuna reads back each trial that is written and keeps it. What this process wrote itself comes back without its
    parameters and attributes, so that a long search does not fill the memory with them.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._wrote = False

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        for log in super().read_logs(log_number_from):
            yield {key: value for key, value in log.items() if key not in BULKY} if self._wrote else log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._wrote = True
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(lines)


@contextmanager
def _open_database(location: str, study_name: str) -> Iterator["RDBStorage"]:
    import sqlalchemy  # only those who use a database wait for it

    try:
        url = sqlalchemy.make_url(location)
    except sqlalchemy.exc.ArgumentError:
        raise InputError(f"{location!r} is not a URL of a database, such as sqlite:///studies.db") from None
    shown = url.render_as_string(hide_password=True)
    with ExitStack() as stack:
        if url.get_backend_name() == "sqlite" and url.database:
            stack.enter_context(sole_user(Path(f"{url.database}.lock")))
        try:
            storage = _connect(location, shown)
            stack.callback(storage.engine.dispose)
            stack.callback(storage.remove_session)
            if url.get_backend_name() == "postgresql":
                stack.enter_context(_advisory_lock(storage.engine, shown, study_name))
            yield storage
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise InputError(
                f"{shown}: the study's storage failed ({_reason(error)}); the study is as it was"
            ) from None


def _connect(location: str, shown: str) -> "RDBStorage":
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(location)
    except ImportError as error:
        raise InputError(f"{shown}: its driver is not installed ({_reason(error)})") from None
    except RuntimeError as error:  # of tables that another version of Optuna made
        raise InputError(f"{shown}: {_reason(error)}") from None


@contextmanager
def _advisory_lock(engine: Any, shown: str, study_name: str) -> Iterator[None]:
    """Hold a lock of the server, which frees it when the connection ends, however it ends."""
    import sqlalchemy

    key = int.from_bytes(hashlib.sha256(study_name.encode()).digest()[:8], "big", signed=True)
    with engine.connect() as connection:
        if not connection.execute(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            raise InputError(f"{shown}: another process writes the study {study_name!r}; wait for that or end it")
        yield


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost cause: the driver's own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(getattr(error, "orig", None) or error).split("\n")
    return " ".join(lines[0].split())
