"""Connecting to Ray."""

import socket

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from litepose_ofa.search.workers.session import ray_session, worker_error
from litepose_ofa.supernet.errors import InputError


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "127.0.0.1:99999", "10.0.0..1:{port}"]
)
def test_an_address_where_nothing_listens_is_refused_at_once(address: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = address.format(port=unused.getsockname()[1])
        with pytest.raises(InputError, match="no Ray cluster answers there"), ray_session(address):
            pass


def test_what_a_worker_met_is_told() -> None:
    met = InputError("image.png: is damaged")
    of_task = RayTaskError("measure", "Traceback ...", met)
    assert worker_error(of_task) is met
    bug = RayTaskError("measure", "Traceback ...", ZeroDivisionError())
    assert worker_error(bug) is bug
    other = KeyError("a")
    assert worker_error(other) is other


@pytest.mark.parametrize("lost", [WorkerCrashedError(), RayActorError(), OutOfMemoryError("too much\nmore")])
def test_a_lost_worker_is_one_line(lost: RayError) -> None:
    told = worker_error(lost)
    assert isinstance(told, InputError)
    assert str(told).startswith("a worker of Ray was lost (")
    assert str(told).endswith("what was finished is kept, and the same command goes on from there")
    assert "\n" not in str(told)


def test_a_ray_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(**options: object) -> None:
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: /scratch/x")

    monkeypatch.setattr(ray, "init", too_long)
    with (
        pytest.raises(InputError, match=r"Ray cannot start .* \(AF_UNIX path .*\); TMPDIR must be"),
        ray_session(),
    ):
        pass
