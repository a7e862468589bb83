"""Two gloo ranks under torchrun against one process that holds the joint batch."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import (
    SINGLE,
    TORCHRUN_VARIABLES,
    Process,
    average,
    average_gradients,
    broadcast_state,
    gather_objects,
    joined_process_group,
    synchronise_batch_norms,
)

PROGRAM = Path(__file__).with_name("run_ranks.py")
CPU = torch.device("cpu")
SECOND_OF_TWO = Process(rank=1, world=2)
NORM_TOLERANCES = {
    "float64": 1e-12,
    "float32": 1e-6,
    "uneven": 1e-12,
    "leading channels": 1e-12,
    "channels last": 1e-6,
    "bfloat16": 1e-2,
}
Ranks = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """What each of two ranks saved."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *torchrun, str(PROGRAM), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture
def without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def set_torchrun_variables(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **changes}.items():
        monkeypatch.setenv(name, value)


def joint(ranks: Ranks, *keys: str) -> Tensor:
    """Concatenate a tensor of both ranks."""
    parts: list[Any] = list(ranks)
    for key in keys:
        parts = [part[key] for part in parts]
    return torch.cat(parts)


def test_ranks_know_themselves_and_leave_the_group(ranks: Ranks) -> None:
    assert [saved["process"] for saved in ranks] == [Process(0, 2, CPU), Process(1, 2, CPU)]
    assert [saved["process"].is_main for saved in ranks] == [True, False]
    assert all(saved["left"] for saved in ranks)


@pytest.mark.parametrize("case", NORM_TOLERANCES)
def test_synchronised_norm(ranks: Ranks, case: str) -> None:
    """Outputs, gradients and running statistics are those of plain batch norm over the joint batch."""
    saved = [rank["norm"][case] for rank in ranks]
    tolerance = NORM_TOLERANCES[case]
    exact = torch.float64 if case == "bfloat16" else saved[0]["x"].dtype
    x = joint(saved, "x").to(exact).requires_grad_()
    before = {name: value.to(exact) for name, value in saved[0]["before"].items() if value.ndim}
    active = slice(x.shape[1])
    weight, bias = (before[name].clone().requires_grad_() for name in ("weight", "bias"))
    mean, var = before["running_mean"].clone(), before["running_var"].clone()
    y = F.batch_norm(x, mean[active], var[active], weight[active], bias[active], training=True)
    y.backward(joint(saved, "gradient").to(exact))
    expected = {
        "y": y.detach(),
        "of_x": x.grad,
        "mean": mean,
        "var": var,
        "of_weight": weight.grad,
        "of_bias": bias.grad,
    }
    found = {
        "y": joint(saved, "y"),
        "of_x": joint(saved, "of_x"),
        "mean": saved[0]["after"]["running_mean"],
        "var": saved[0]["after"]["running_var"],
        "of_weight": saved[0]["of_weight"] + saved[1]["of_weight"],
        "of_bias": saved[0]["of_bias"] + saved[1]["of_bias"],
    }
    for name, value in expected.items():
        assert value is not None
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name].to(exact), value, rtol=0, atol=tolerance * scale, msg=name)


def test_a_rank_ends_at_once_when_another_has_died(tmp_path: Path, free_port: str) -> None:
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(tmp_path), "1"],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [1, 7]
    assert "RuntimeError" in errors[0]


def test_the_group_is_left_after_an_exception(monkeypatch: pytest.MonkeyPatch, free_port: str) -> None:
    set_torchrun_variables(monkeypatch, RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", free_port)

    def fail_inside() -> None:
        with joined_process_group(CPU) as process:
            assert torch.distributed.is_initialized()
            assert process == SINGLE
            raise KeyError("anything")

    with pytest.raises(KeyError, match="anything"):
        fail_inside()
    assert not torch.distributed.is_initialized()


@pytest.mark.usefixtures("without_torchrun")
def test_without_torchrun_there_is_one_process() -> None:
    accelerator = torch.device("cuda")
    with joined_process_group(accelerator) as process:
        assert process == Process(0, 1, accelerator)
        assert not torch.distributed.is_initialized()


def test_alone_the_collectives_change_nothing() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = gradient = torch.tensor([1.0, 2.0])
    average_gradients([parameter], SINGLE)
    assert parameter.grad is gradient
    assert gradient.tolist() == [1.0, 2.0]
    values = torch.tensor([1.0, float("nan")], requires_grad=True)
    found = average(values, SINGLE)
    assert not found.requires_grad
    torch.testing.assert_close(found, values.detach(), equal_nan=True)
    assert gather_objects("value", SINGLE) == ["value"]
    module = nn.BatchNorm2d(3)
    broadcast_state(module, SINGLE)
    assert synchronise_batch_norms(nn.Sequential(module), SINGLE)[0] is module


@pytest.mark.parametrize(
    ("changes", "accelerator", "message"),
    [
        ({"LOCAL_RANK": "1"}, "cuda", "LOCAL_RANK is 1; torch finds 1 CUDA devices, so it must be below 1"),
        ({}, "cpu", "cannot join the process group as rank 1 of 2: .*MASTER_ADDR"),
    ],
)
def test_wrong_variables_are_input_errors(
    changes: dict[str, str], accelerator: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_torchrun_variables(monkeypatch, **changes)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=message), joined_process_group(torch.device(accelerator)):
        pass
    assert not torch.distributed.is_initialized()


@pytest.fixture(params=["supernet", "static"])
def network(request: pytest.FixtureRequest, tiny: SearchSpace) -> nn.Module:
    return LitePoseSupernet(tiny) if request.param == "supernet" else LitePose(tiny.smallest())


def test_synchronising_keeps_names_parameters_and_buffers(network: nn.Module) -> None:
    before = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    keys = list(network.state_dict())
    assert synchronise_batch_norms(network, SECOND_OF_TWO) is network
    after = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert list(network.state_dict()) == keys
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_evaluation_stays_bit_equal(
    network: nn.Module, tiny: SearchSpace, randomise: Callable[[nn.Module, int], nn.Module]
) -> None:
    randomise(network, 0).eval()
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    extra = (tiny.smallest(),) if isinstance(network, LitePoseSupernet) else ()
    before = network(images, *extra)
    after = synchronise_batch_norms(network, SECOND_OF_TWO)(images, *extra)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
