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
from litepose_ofa.supernet.network.elastic_layers import ElasticBatchNorm2d
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.distributed import (
    TORCHRUN_VARIABLES,
    Process,
    joined_process_group,
    synchronise_batch_norms,
)

PROGRAM = Path(__file__).with_name("run_ranks.py")
CPU = torch.device("cpu")
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
def ranks(run_two_ranks: Callable[[str], Ranks]) -> Ranks:
    """What each of two ranks saved."""
    return run_two_ranks("run_ranks.py")


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


def test_gradients_are_averaged_in_one_reduction(ranks: Ranks) -> None:
    first, second = (saved["gradients"] for saved in ranks)
    for saved in (first, second):
        for own, other, found in zip(first["before"], second["before"], saved["after"], strict=True):
            if own is None:
                assert found is None
            else:
                torch.testing.assert_close(found, (own + other) / 2, rtol=1e-6, atol=1e-7)
        assert saved["calls"] == [{"all_reduce": 1}, {}]
    assert [saved["after"][0].stride() for saved in (first, second)] == [(12, 1, 6, 3), (12, 4, 2, 1)]


@pytest.mark.parametrize("case", NORM_TOLERANCES)
def test_synchronised_norm(ranks: Ranks, case: str) -> None:
    """Outputs, gradients and running statistics are those of plain batch norm over the joint batch."""
    saved = [rank["norm"][case] for rank in ranks]
    exact = torch.float64 if case == "bfloat16" else saved[0]["x"].dtype
    x = joint(saved, "x").to(exact).requires_grad_()
    before = {name: value.to(exact) for name, value in saved[0]["before"].items() if value.ndim}
    active = slice(x.shape[1])
    weight, bias = (before[name].clone().requires_grad_() for name in ("weight", "bias"))
    mean, var = before["running_mean"].clone(), before["running_var"].clone()
    y = F.batch_norm(x, mean[active], var[active], weight[active], bias[active], training=True)
    y.backward(joint(saved, "gradient").to(exact))
    expected = {"y": y.detach(), "of_x": x.grad, "of_weight": weight.grad, "of_bias": bias.grad}
    found = {name: joint(saved, name) for name in ("y", "of_x")}
    found |= {name: saved[0][name] + saved[1][name] for name in ("of_weight", "of_bias")}
    for rank in saved:
        statistics = {"mean": rank["after"]["running_mean"], "var": rank["after"]["running_var"]}
        for name, value in (expected | {"mean": mean, "var": var}).items():
            tolerance = NORM_TOLERANCES[case] * float(value.abs().max())
            torch.testing.assert_close((found | statistics)[name].to(exact), value, rtol=0, atol=tolerance, msg=name)
        assert rank["y"].dtype == rank["of_x"].dtype == rank["x"].dtype
        assert rank["y"].stride() == rank["of_x"].stride() == rank["x"].stride()
        assert rank["calls"] == [{"all_gather": 1}, {"all_reduce": 1}]
    for name in ("running_mean", "running_var"):
        assert torch.equal(saved[0]["after"][name], saved[1]["after"][name])


def test_values_and_objects_arrive_everywhere(ranks: Ranks) -> None:
    for rank, saved in enumerate(ranks):
        found, values = saved["average"]
        assert (found.tolist(), values.tolist()) == ([0.5, 3.0], [rank, 3.0])
        assert saved["objects"] == [{"rank": 0}, {"rank": 1}]


def test_a_rank_ends_at_once_when_another_has_died(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
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


@pytest.mark.parametrize("variables", [{}, {"RANK": "3"}], ids=["none", "not all"])
def test_without_torchruns_variables_there_is_one_process(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TORCHRUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    accelerator = torch.device("cuda")
    with joined_process_group(accelerator) as process:
        assert process == Process(0, 1, accelerator)
        assert not torch.distributed.is_initialized()


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


@pytest.mark.parametrize("static", [False, True])
def test_every_norm_is_synchronised_and_nothing_else_changes(static: bool, tiny: SearchSpace) -> None:
    network = LitePose(tiny.smallest()) if static else LitePoseSupernet(tiny)
    network.get_submodule("first.3").eps = 0.01
    before = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    keys = list(network.state_dict())
    assert synchronise_batch_norms(network, Process(rank=1, world=2)) is network
    after = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert list(network.state_dict()) == keys
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(norm, ElasticBatchNorm2d) and norm.synchronised for norm in norms)
    assert network.get_submodule("first.3").eps == 0.01
