"""Connecting to Ray."""

import socket

import pytest

from search.accuracy.ray_session import ray_session
from supernet.errors import InputError


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "127.0.0.1:99999", "10.0.0..1:{port}"]
)
def test_an_address_where_nothing_listens_is_refused_at_once(address: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = address.format(port=unused.getsockname()[1])
        with pytest.raises(InputError, match="no Ray cluster answers there"), ray_session(address):
            pass
