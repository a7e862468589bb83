"""Speed and memory of a training step: plain torch, ours as a static network, through the supernet, with torch alone.

    python benchmarks/training/training_step.py                       # search-XS, 256 px, batch 4, on the CPU
    python benchmarks/training/training_step.py --device cuda --arch search-L --size 512 --batch 32

A step is forward, both heads' losses, backward, clipping and AdamW. They are timed in turns, so that a machine's
moods reach all of them; medians of one run, and their ratios, are what to read. The C library keeps freed memory for
all of them, as in our trainings.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.loading.batches import Batch
from litepose_ofa.supernet.network import cpu_kernels
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose, PoseNetwork
from litepose_ofa.supernet.training.distributed import Process
from litepose_ofa.supernet.training.objective import make_targets, pose_loss
from litepose_ofa.supernet.training.recipe import (
    Phase,
    StepPlan,
    SubnetPlan,
    SupernetPlan,
    TrainingSettings,
    WarmupCosine,
)
from litepose_ofa.supernet.training.step import WeightUpdate, keep_freed_memory, make_optimizer, train_on_batch

LIMIT_C = 1.05
LIMIT_MEMORY = 1.3


def make_batch(count: int, size: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.cat(
        [torch.rand(count, 3, 14, 2, generator=generator) * size, torch.full((count, 3, 14, 1), 2.0)], dim=-1
    )
    images = torch.randn(count, 3, size, size, generator=generator).contiguous(memory_format=torch.channels_last)
    return Batch(images, keypoints, torch.ones(count, size // 2, size // 2), tuple(range(count)), ()).to(device)


def plain_step(network: LitePose, batch: Batch) -> Callable[[], object]:
    """(a): plain layers in NCHW float32, as a first training script would have it."""
    network.train().to(memory_format=torch.contiguous_format)
    settings = TrainingSettings(batch_size=len(batch.images))
    optimizer = make_optimizer("adamw", network, weight_decay=1e-4)
    images = batch.images.contiguous()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        targets = make_targets(batch, settings.loss)
        loss, _ = pose_loss(network(images), targets, settings.loss, progress=0.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()

    return step


def our_step(network: PoseNetwork, batch: Batch, plan: StepPlan, precision: str = "float32") -> Callable[[], object]:
    """(b) and (c): the trainer's own step."""
    device = batch.images.device
    network.train().to(memory_format=torch.channels_last)
    settings = TrainingSettings(batch_size=len(batch.images), precision=precision)
    optimizer = make_optimizer("adamw", network, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=False)
    update = WeightUpdate(network, optimizer, clip_norm=5.0, scaler=scaler, process=Process(device=device))
    return lambda: train_on_batch(network, batch, plan, update, settings)


def median_seconds(steps: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is a warm-up
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def time_steps(args: argparse.Namespace, device: torch.device) -> None:
    arch = published_archs()[args.arch].with_image_size(args.size)
    phase = Phase("benchmark", 1, WarmupCosine(1e-3), rule="largest", teacher="none")
    plan = SubnetPlan(arch, phase)(0)
    batch = make_batch(args.batch, args.size, device)
    steps = {
        "(a) plain static, NCHW, float32": plain_step(LitePose(arch).to(device), batch),
        "(b) ours, static": our_step(LitePose(arch).to(device), batch, plan),
        "(c) ours, through the supernet": our_step(
            LitePoseSupernet(SearchSpace.preset("litepose")).to(device), batch, plan
        ),
    }
    if device.type == "cpu":
        torch_alone = our_step(LitePose(arch), batch, plan)

        def without_functions() -> object:
            with mock.patch.object(cpu_kernels, "functions", return_value=None):
                return torch_alone()

        steps["(d) as (b), without compiled functions"] = without_functions
    if device.type == "cuda":
        steps["(b) in bfloat16"] = our_step(LitePose(arch).to(device), batch, plan, "bfloat16")
    seconds = median_seconds(steps, args.rounds, device)
    first, second, *_ = seconds.values()
    for name, value in seconds.items():
        print(f"{name:<38} {1000 * value:8.1f} ms  {args.batch / value:8.1f} images/s  {first / value:5.2f} x (a)")
    through = seconds["(c) ours, through the supernet"] / second
    print(f"(c) takes {through:.3f} x (b); allowed {LIMIT_C}")


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """Memory that two steps need on top of what was there before them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        step()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    step()
    step()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise LookupError(field)


def measure_memory(args: argparse.Namespace, device: torch.device) -> None:
    """Run in a process of its own: the peak of the largest network's step, or of a whole sandwich."""
    space = SearchSpace.preset(args.space)
    kind = {"largest": ("largest", "none"), "sandwich": ("sandwich", "largest")}[args.memory_of]
    phase = Phase("benchmark", 1, WarmupCosine(1e-3), rule=kind[0], teacher=kind[1], num_random=2)
    size = min(args.size, space.image_sizes[-1])
    plan = SupernetPlan(space, (phase,), 0)(0)
    plan = StepPlan(phase, True, size, plan.subnets, 1e-3, 0.0)
    batch = make_batch(args.batch, size, device)
    supernet = LitePoseSupernet(space).to(device)
    print(peak_bytes(our_step(supernet, batch, plan), device))


def compare_memory(args: argparse.Namespace) -> None:
    peaks = {}
    for kind in ("largest", "sandwich"):
        command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", kind]
        peaks[kind] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ratio = peaks["sandwich"] / peaks["largest"]
    shown = ", ".join(f"{kind} {peak / 2**20:.0f} MiB" for kind, peak in peaks.items())
    print(f"peak memory of a step in {args.space}: {shown}: {ratio:.2f} x; allowed {LIMIT_MEMORY}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="search-XS", choices=published_archs())
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--space", default="litepose", help="whose sandwich step's memory is measured")
    parser.add_argument("--memory-of", choices=("largest", "sandwich"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    device = torch.device(args.device)
    if args.memory_of:
        measure_memory(args, device)
        return
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()}, {args.threads} threads"
    print(f"{args.arch}, {args.size} px, batch {args.batch}, torch {torch.__version__}, {where}")
    time_steps(args, device)
    compare_memory(args)


if __name__ == "__main__":
    main()
