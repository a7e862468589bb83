"""One part of ``benchmarks/gpu.sh``; ``gpu.py`` runs them in order, each leaves its figures in a JSON file."""

import argparse
import gc
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from dispatcher_calls import calls_of_a_step, sandwich_step
from training_step import make_batch, median_seconds, our_step, peak_bytes, plain_step

from litepose_ofa.search.reporting.page.drawing import lines, save_png
from litepose_ofa.search.reporting.page.section import Block, Chart
from litepose_ofa.search.reporting.page.training_section import read_metrics, training_blocks
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import get_skeleton
from litepose_ofa.supernet.data.synthetic.dataset import split_paths
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, SubnetEvaluator
from litepose_ofa.supernet.network.checkpoints import load_supernet
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose
from litepose_ofa.supernet.training.recipe import Phase, SubnetPlan, WarmupCosine

ROOT = Path(__file__).parents[2]
MIB = 2**20
Step = Callable[[], object]
Row = dict[str, Any]


def tests(args: argparse.Namespace) -> None:
    """Run the tests that need a GPU; without one they are skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    record(args, [{"pytest -m gpu": (done.stdout.strip().splitlines() or [""])[-1].strip("= ")}])
    sys.exit(done.returncode)


def steps(args: argparse.Namespace) -> None:
    """Time steps of the largest network alone and of a sandwich of four subnets, and measure their memory."""
    device = torch.device(args.device)
    name, sizes, batch = ("tiny", (96,), 4) if args.quick else ("litepose", (256, 384, 512), 32)
    kinds = step_kinds(name, device)
    host = 1000 * median_seconds({"": sandwich_step(device, name)}, 10, device)[""]
    print(f"a sandwich step of litepose makes {sum(calls_of_a_step().values()):,} calls")
    print(f"a sandwich step of {name}, 2 images of 64 px, which leave a GPU waiting for the host: {host:.1f} ms")
    rows: list[Row] = []
    failed = []
    seconds = 0 if args.quick else 0.35 * args.seconds / (len(kinds) * len(sizes))
    for size in sizes:
        for kind, make in kinds.items():
            try:
                row = timed(partial(make, size=size), batch, device, seconds)
            except Exception:
                traceback.print_exc()
                failed.append(f"{kind}, {size} px")
                continue
            rows.append({"step": kind, "px": size, **row})
            record(args, rows)
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


def step_kinds(name: str, device: torch.device) -> dict[str, Callable[[int, int], Step]]:
    """Return what makes a step of so many images of so many pixels, by the step's name."""
    space = SearchSpace.preset(name)
    plan = SubnetPlan(space.largest(), Phase("benchmark", 1, WarmupCosine(1e-3), rule="largest", teacher="none"))(0)

    def plain(count: int, size: int) -> Step:
        return plain_step(LitePose(space.largest()).to(device), make_batch(count, size, device))

    def alone(precision: str, count: int, size: int) -> Step:
        return our_step(LitePose(space.largest()).to(device), make_batch(count, size, device), plan, precision)

    def sandwich(precision: str, count: int, size: int) -> Step:
        return sandwich_step(device, name, size, count, precision)

    kinds: dict[str, Callable[[int, int], Step]] = {"largest alone, plain torch, NCHW float32": plain}
    for each, title in ((alone, "largest alone"), (sandwich, "sandwich of four")):
        kinds |= {f"{title}, {precision}": partial(each, precision) for precision in ("float32", "bfloat16")}
    return kinds


def timed(make: Callable[[int], Step], batch: int, device: torch.device, seconds: float) -> Row:
    """Time the step that ``make`` gives for ``batch`` images, or for half as many until they fit into memory."""
    while True:
        gc.collect()
        torch.cuda.empty_cache()  # nothing without CUDA
        try:
            return _timed(make(batch), batch, device, seconds)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
        print(f"out of memory; with a batch of {batch}:")


def _timed(step: Step, batch: int, device: torch.device, seconds: float) -> Row:
    memory = None
    if device.type == "cuda":
        peak_bytes(step, device)
        memory = round(torch.cuda.max_memory_allocated() / MIB)
    once = median_seconds({"": step}, 1, device)[""]
    with utilisation(device) as shares:
        taken = median_seconds({"": step}, max(3, min(300, int(seconds / once))), device)[""]
    return {
        "batch": batch,
        "ms": round(1000 * taken, 1),
        "images/s": round(batch / taken, 1),
        "peak MiB": memory,
        "GPU busy, %": busy(shares),
    }


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[str]]:
    """Yield a list that holds, after the block, what nvidia-smi said of the GPU's use during it, if it is there."""
    said: list[str] = []
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        yield said
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "500"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as asked:
        try:
            yield said
        finally:
            asked.terminate()
        assert asked.stdout is not None
        said += asked.stdout.read().splitlines()


def busy(said: Sequence[str]) -> int | None:
    """Return the mean of the percentages that were said; the first one is of the time before."""
    shares = [int(line) for line in said[1:] if line.strip().isdigit()]
    return round(statistics.mean(shares)) if shares else None


def people(args: argparse.Namespace) -> None:
    """Render the images of the training and the evaluation."""
    counts = (32, 8, 8) if args.quick else (2000, 100, 200)
    images = [f"images.{split}={count}" for split, count in zip(("train", "search", "val"), counts, strict=True)]
    size = [] if args.quick else ["people.image_size=[320,320]"]
    litepose(args, "generate-people", *images, *size, f"workers={max(1, (os.cpu_count() or 1) - 1)}")


def training(args: argparse.Namespace) -> None:
    """Train a supernet for as many steps as a first try says there is time for."""
    began = time.monotonic()
    batch = 4 if args.quick else 32
    fixed = [
        "training=tiny", "training.learning_rate.peak=0.004", "training.validation_images=50",
        f"training.batch_size={batch}", f"training.workers={0 if args.quick else min(8, (os.cpu_count() or 2) // 2)}",
    ]  # fmt: skip
    few = 4 if args.quick else 40

    def train(folder: str, count: int, validations: int, lines: int) -> pd.DataFrame:
        every = [
            f"training.validate_every={math.ceil(count / validations)}",
            f"training.log_every={math.ceil(count / lines)}",
        ]
        litepose(args, "train", *fixed, f"run_folder={folder}", f"training.steps={count}", *every)
        return read_metrics(args.scratch / "workspace" / folder / "metrics.jsonl")

    speed = train("try", few, 1, 4)["images_per_second"].dropna().iloc[1:].median() / batch
    once = max(0.0, time.monotonic() - began - few / speed)  # to start, and to validate once
    left = 0.95 * (args.seconds - (time.monotonic() - began)) - 3 * once
    count = 12 if args.quick else max(few, int(speed * left))
    print(f"{speed:.2f} steps/s, {once:.0f} s to start and to validate: {count} steps")
    with utilisation(torch.device(args.device)) as shares:
        metrics = train("supernet", count, 3, 40)
    row = {"steps": count, "batch": batch, "images/s": round(metrics["images_per_second"].median(), 1)}
    aps = {name: round(100 * metrics[name].dropna().iloc[-1], 1) for name in metrics if str(name).startswith("ap/")}
    whole = round(time.monotonic() - began)
    record(args, [{**row, "seconds, start and validation too": whole, "GPU busy, %": busy(shares), **aps}])


def evaluation(args: argparse.Namespace) -> None:
    """Evaluate two subnets of the trained supernet, or of an untrained one where the training failed."""
    device, path = torch.device(args.device), args.scratch / "workspace" / "supernet" / "supernet.safetensors"
    if path.exists():
        supernet = load_supernet(path)
    else:
        print("the training left no supernet: this one is untrained")
        supernet = LitePoseSupernet(SearchSpace.preset(space_of(args)))
    skeleton = get_skeleton("crowdpose")
    train, val = (
        KeypointDataset.load(*split_paths(args.scratch / "data" / "people", split), skeleton)
        for split in ("train", "val")
    )
    evaluator = SubnetEvaluator(
        supernet.to(device=device, memory_format=torch.channels_last),
        Calibration(train, num_images=128, batch_size=32),
        val,
        settings=InferenceSettings(flip_test=False, threshold=0.2),
        batch_size=25,
    )
    rows: list[Row] = []
    for name, arch in {"smallest": supernet.space.smallest(), "largest": supernet.space.largest()}.items():
        evaluator.evaluate_prepared(evaluator.prepare(arch))  # warms up, and reads the images to recalibrate on
        started = time.perf_counter()
        network = evaluator.prepare(arch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        prepared = time.perf_counter()
        result = evaluator.evaluate_prepared(network)
        ended, found = time.perf_counter(), result.predictions
        images = len(found.image_ids)
        rows.append(
            {
                "subnet": name,
                "px": arch.image_size,
                "images": images,
                "recalibration, s": round(prepared - started, 2),
                "images/s": round(images / (ended - prepared), 1),
                "network alone, images/s": round(images / found.network_seconds, 1),
                "decoding alone, images/s": round(images / found.decode_seconds, 1),
                "AP": round(100 * result.metrics["AP"], 1) if path.exists() else None,
            }
        )
        record(args, rows)


def results(args: argparse.Namespace) -> None:
    """Write ``results.md`` and ``results.png`` from what the parts left, and print the former."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU ({platform.machine()})"
    where = f"{device}, {os.cpu_count()} CPUs, torch {torch.__version__}, CUDA {torch.version.cuda}"
    if args.device == "cuda":
        where += f"; float32 convolutions in TF32: {'yes' if torch.backends.cudnn.allow_tf32 else 'no'}"
    outcomes = json.loads((args.output / "parts.json").read_text(encoding="utf-8"))
    parts = [
        {"part": name, "seconds": each["seconds"], "outcome": each["failed"] or "done"}
        for name, each in outcomes.items()
    ]
    figures = {name: args.output / f"{name}.json" for name in ("tests", "steps", "training", "evaluation")}
    tables = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in figures.items() if path.exists()}
    text = "\n\n".join([where, table(parts), *(f"{name}\n\n{table(rows)}" for name, rows in tables.items())])
    (args.output / "results.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    blocks: list[Block] = []
    if "steps" in tables:
        frame = pd.DataFrame(tables["steps"]).rename(columns={"px": "input side, px"})
        caption = "Training images a second; a sandwich trains four subnets on each image."
        blocks.append(Chart(lines(frame, "input side, px", "images/s", "step", point=True), caption))
    metrics = args.scratch / "workspace" / "supernet" / "metrics.jsonl"
    if metrics.exists():
        blocks += training_blocks(read_metrics(metrics))
    if blocks:
        save_png(args.output / "results.png", blocks, where)


def table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown, a column a key; what a row lacks is a dash."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [
        keys,
        ["---"] * len(keys),
        *(["-" if row.get(key) is None else str(row[key]) for key in keys] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def litepose(args: argparse.Namespace, verb: str, *overrides: str) -> None:
    """Run a verb of the command in the workspace of all parts; its failure is this part's."""
    machine = [f"accelerator={args.device}", f"threads={torch.get_num_threads()}"]
    places = [f"data_root={args.scratch}/data", f"workspace={args.scratch}/workspace"]
    command = [sys.executable, "-m", "litepose_ofa", verb, f"space={space_of(args)}", *machine, *places, *overrides]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"litepose {verb} ended with status {done.returncode}")


def space_of(args: argparse.Namespace) -> str:
    return "tiny" if args.quick else "litepose"


def record(args: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Write a part's table so far, and print its last row."""
    print(", ".join(f"{key} {value}" for key, value in rows[-1].items() if value is not None))
    (args.output / f"{args.part}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def main() -> None:
    parts = {each.__name__: each for each in (tests, steps, people, training, evaluation, results)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=parts)
    parser.add_argument("--device", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, required=True, help="how long the part may take")
    parser.add_argument("--scratch", type=Path, required=True, help="where parts leave files for each other")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    parts[args.part](args)


if __name__ == "__main__":
    main()
