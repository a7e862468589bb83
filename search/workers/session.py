"""Where work is done: in this process, or on a Ray cluster, connected to for the length of a block."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import NonNegative, Positive, settings

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


@settings
class BackendSettings:
    """The ``backend`` group; see conf/backend/ray.yaml."""

    name: Literal["serial", "ray", "ray_tune"]
    address: str | None = None
    num_workers: Annotated[int, Field(ge=1, le=10_000)] = 1
    cpus_per_worker: Positive = 1
    gpus_per_worker: NonNegative = 0

    @property
    def device(self) -> str:
        """Where workers measure."""
        return "cuda" if self.gpus_per_worker else "cpu"

    @property
    def workers(self) -> dict[str, Any]:
        """How many workers there are, and what each reserves."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "address")}


@contextmanager
def ray_session(address: str | None = None, **options: Any) -> Iterator[None]:
    """Connect to Ray, or keep the connection that this process has.

    Args:
        address: Of a running cluster, such as ``auto`` or ``ray://host:10001``; None starts one on this machine.
        options: Options of ``ray.init`` for a cluster started here, such as ``num_cpus``.

    Raises:
        InputError: If no cluster answers at the address, or none can start here.
    """
    import ray  # takes a second

    if ray.is_initialized():
        yield
        return
    if address is None:
        options = {"include_dashboard": False, **options}
    else:
        _require_answer(address)
        options = {}
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError) as error:
        raise _refusal(address, error) from None
    try:
        yield
    finally:
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


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


def _refusal(address: str | None, error: Exception) -> InputError:
    if address is not None:
        return InputError(f"backend.address is {address!r}; no Ray cluster answers there ({error})")
    return InputError(
        f"Ray cannot start on this machine ({error}); TMPDIR must be a short path, and it and /dev/shm have space"
    )


def _require_answer(address: str) -> None:
    """Raise ``InputError`` if nothing listens at an address that names a host and a port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:  # a name that no host can have is a UnicodeError
        raise _refusal(address, error) from None
