"""A connection to Ray for the length of a block: a cluster that runs, or one of this machine alone."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litepose_ofa.supernet.errors import InputError

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
"""No telemetry, no tables in the terminal, no GPU for trials that ask for none, relative paths as they were."""

ANSWER_SECONDS = 5.0
"""How long a cluster's port may take to answer; Ray by itself tries for minutes."""


@contextmanager
def ray_session(address: str | None = None, *, num_cpus: int | None = None) -> Iterator[None]:
    """Connect to Ray, or keep the connection that this process has.

    Args:
        address: Of a running cluster, such as ``auto`` or ``ray://host:10001``; None starts one on this machine.
        num_cpus: CPUs that a cluster started here is to count; None for those that there are.

    Raises:
        InputError: If there is no cluster at the address.
    """
    import ray  # takes a second

    if ray.is_initialized():
        yield
        return
    os.environ.update(ENVIRONMENT)
    if address is None:
        start_ray(num_cpus=num_cpus)
    else:
        _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def start_ray(**options: Any) -> None:
    """Start Ray on this machine alone, quietly; ``options`` are further ones of ``ray.init``.

    Raises:
        InputError: If it cannot start here.
    """
    import ray

    try:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **options)
    except OSError as error:
        raise InputError(
            f"Ray cannot start on this machine ({error}); TMPDIR must be a short path, and it and /dev/shm have space"
        ) from None


def worker_error(error: Exception) -> Exception:
    """Return what a task of Ray met: what a user can mend as such, a lost worker in one line, the rest as it is."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        return error.cause if isinstance(error.cause, InputError | OSError) else error
    if isinstance(error, ray.exceptions.RayError):
        reason = " ".join(str(error).partition("\n")[0].split())
        return InputError(
            f"a worker of Ray was lost ({reason}); what was finished is kept, and the same command goes on from there"
        )
    return error


def _connect(address: str) -> None:
    import ray

    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        raise InputError(f"backend.address is {address!r}; no Ray cluster answers there ({error})") from None


def _require_answer(address: str) -> None:
    """Raise ``InputError`` if nothing listens at an address that names a host and a port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:  # a name that no host can have is a UnicodeError
        raise InputError(f"backend.address is {address!r}; no Ray cluster answers there ({error})") from None
