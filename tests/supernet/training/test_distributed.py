"""Two gloo ranks under torchrun against one process: collectives and norms, and whole trainings."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.training.distributed import Process, joined_process_group

PROGRAM = Path(__file__).with_name("run_ranks.py")
CPU = torch.device("cpu")
TOLERANCE = 1e-5
ROUNDED_TOLERANCE = 1e-4
"""Of float32 variances deep in the network, over as few as eight values."""

CASES = ("joint/per_sandwich", "joint/per_subnet", "parts/per_sandwich", "parts/per_subnet")
Ranks = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(people: KeypointDataset, tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """What each of two ranks saved, of what they did together and alone."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, str(PROGRAM), str(folder), str(people.annotations_path), str(people.images_dir)],
        env=os.environ | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def test_ranks_know_themselves_and_average_gradients_in_any_memory_format(ranks: Ranks) -> None:
    assert [saved["process"] for saved in ranks] == [Process(0, 2, CPU), Process(1, 2, CPU)]
    assert all(saved["left"] for saved in ranks)
    first, second = (saved["gradients"] for saved in ranks)
    for saved in (first, second):
        for own, other, found in zip(first["before"], second["before"], saved["after"], strict=True):
            assert (own is None) == (found is None)
            if own is not None:
                torch.testing.assert_close(found, (own + other) / 2, rtol=1e-6, atol=1e-7)
    assert [saved["after"][0].stride() for saved in (first, second)] == [(12, 1, 6, 3), (12, 4, 2, 1)]


def test_ranks_stop_at_one_step_while_one_waits_for_its_images(ranks: Ranks) -> None:
    assert [saved["waited"] for saved in ranks] == [1, 1]


def test_synchronised_norm(ranks: Ranks) -> None:
    """Outputs, gradients and running statistics are those of plain batch norm over the joint, uneven batch."""
    saved = [rank["norm"] for rank in ranks]
    x = torch.cat([rank["x"] for rank in saved]).requires_grad_()
    weight = torch.linspace(0.5, 1.5, 8).double().requires_grad_()
    bias = torch.linspace(-1, 1, 8).double().requires_grad_()
    mean, var = torch.zeros(8).double(), torch.ones(8).double()
    active = slice(x.shape[1])
    y = F.batch_norm(x, mean[active], var[active], weight[active], bias[active], training=True)
    y.backward(torch.cat([rank["gradient"] for rank in saved]))
    expected = {"y": y.detach(), "of_x": x.grad, "of_weight": weight.grad, "of_bias": bias.grad}
    found = {name: torch.cat([rank[name] for rank in saved]) for name in ("y", "of_x")}
    found |= {name: saved[0][name] + saved[1][name] for name in ("of_weight", "of_bias")}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10, msg=name)
    for rank in saved:
        torch.testing.assert_close(rank["after"]["running_mean"], mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(rank["after"]["running_var"], var, rtol=0, atol=1e-12)


def is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor], *, statistics: bool) -> float:
    """Return the largest difference of an element, relative above 1, of weights or of running statistics."""
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if is_statistic(name) == statistics]
    pairs = [(ours[name].double(), theirs[name].double()) for name in names]
    return max(float(((a - b).abs() / b.abs().clamp(min=1)).max()) for a, b in pairs)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(ranks: Ranks, case: str) -> None:
    """With joint statistics: the whole batch at once; without: the batch in two parts, one after the other."""
    joint = case.startswith("joint")
    ours = ranks[0]["together"][case]
    theirs = ranks[0 if joint else 1]["alone"][case]
    for which in ("model", "average"):
        assert furthest(ours["state"][which], theirs["state"][which], statistics=False) < TOLERANCE
    assert furthest(ours["state"]["model"], ours["start"], statistics=False) > 10 * TOLERANCE, "it was to learn"
    if joint:
        rounded = ours["start"]["first.0.0.weight"].dtype == torch.float32
        tolerance = ROUNDED_TOLERANCE if rounded else TOLERANCE
        for which in ("model", "average"):
            assert furthest(ours["state"][which], theirs["state"][which], statistics=True) < tolerance
    for mine, alone in zip(ours["losses"], theirs["losses"], strict=True):
        assert mine == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("case", [*CASES, "frozen/per_sandwich"])
def test_ranks_end_with_the_same_bits(ranks: Ranks, case: str) -> None:
    """All of them, but for the statistics of batch norms that each see their own part."""
    first, second = (rank["together"][case]["state"] for rank in ranks)
    for which in ("model", "average", "frozen_teacher"):
        for name, tensor in (first[which] or {}).items():
            if which == "frozen_teacher" or case.startswith("joint") or not is_statistic(name):
                assert torch.equal(tensor, second[which][name]), name
    for ours, theirs in zip(first["optimizer"]["state"].values(), second["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_and_names_its_images(ranks: Ranks) -> None:
    first, second = (rank["diverged"] for rank in ranks)
    assert first["message"] == second["message"]
    assert first["step"] == second["step"] == 19
    images = ", ".join(map(str, second["image_ids"]))
    assert "for 20 steps in a row, last at step 19 in subnet largest (" in first["message"]
    assert f" px) on images {images};" in first["message"]
    assert set(first["image_ids"]).isdisjoint(second["image_ids"])


def test_ranks_share_a_validation_bad_images_checkpoints_and_failures(ranks: Ranks) -> None:
    first, second = (rank["shared"] for rank in ranks)
    assert list(first["scores"].items()) == list(second["scores"].items()) == [("0", 0), ("1", 101), ("2", 200)]
    assert first["bad_images"] == second["bad_images"] == first["saved"] == ["0.jpg", "1.jpg"]
    for shared in (first, second):
        assert "processes find steps 1, None in it; all nodes must share one" in shared["message"]
    assert first["stopped"] == second["stopped"] == "[Errno 28] No space left on device: 'run.json'"


def test_a_rank_ends_at_once_when_another_has_died() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), "1"],
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
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **changes}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=message), joined_process_group(torch.device(accelerator)):
        pass
    assert not torch.distributed.is_initialized()
    monkeypatch.delenv("WORLD_SIZE")  # without all of torchrun's variables there is one process
    with joined_process_group(torch.device(accelerator)) as process:
        assert process == Process(0, 1, torch.device(accelerator))
        assert not torch.distributed.is_initialized()
