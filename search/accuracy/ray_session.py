"""A connection to Ray for the length of a block: a cluster that runs, or one of this machine alone."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from supernet.errors import InputError

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

    from search.asha import ENVIRONMENT

    if ray.is_initialized():
        yield
        return
    os.environ.update(ENVIRONMENT)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"include_dashboard": False, "num_cpus": num_cpus}
    else:
        _require_answer(address)
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, RuntimeError) as error:
        if address is None:
            raise
        raise InputError(f"backend.address is {address!r}; no Ray cluster answers there ({error})") from None
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise ``InputError`` if nothing listens at an address that names a host and a port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:  # a name that no host can have is a UnicodeError
        raise InputError(f"backend.address is {address!r}; no Ray cluster answers there ({error})") from None
