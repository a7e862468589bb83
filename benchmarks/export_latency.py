"""Our ONNX export under ONNX Runtime against torch's exporter on the same weights; one thread.

    python benchmarks/export_latency.py

Four files of each network: what ``torch.onnx.export`` makes of it in eval mode (plain), and of the network with its
batch norms folded (folded); our graph with a fusion deconv as two transposed convolutions and their sum (written), and
as we export it, as one (ours). They are checked to give the same heads and run in turns, a run each. A figure is the
median of the processor time, a ratio the median of plain's time over the other's in the same turn. Sessions are opened
in turns too. Prints a Markdown table.
"""

import argparse
import logging
import random
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from folded_network import fold_batch_norms
from torch import nn

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.formats import FloatArray
from litepose_ofa.supernet.export.onnx_graph import INPUT_NAME, OUTPUT_NAMES, build_onnx, export_onnx, save_onnx
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.litepose import LitePose

TORCH_OPSET = 20
FORMS = ("plain", "folded", "written", "ours")
LEAST_RATIO = 1.0
"""Ours must not be slower."""

SESSIONS = 5


def networks() -> Iterator[tuple[str, Arch]]:
    for name in ("search-XS", "search-S"):
        yield name, published_archs()[name]
    yield "tiny, largest", SearchSpace.preset("tiny").largest()
    for seed in range(3):
        yield f"litepose, random {seed}", SearchSpace.preset("litepose").sample(random.Random(seed))


def export_plainly(path: Path, network: nn.Module, size: int) -> None:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, size, size),),
            path,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            opset_version=TORCH_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    logging.disable(logging.NOTSET)


def make_network(arch: Arch) -> LitePose:
    """Return a network whose batch norms fit its weights, so that no activation explodes or vanishes."""
    torch.manual_seed(0)
    network = LitePose(arch).eval()
    recalibrate_batch_norm(network, [torch.randn(1, 3, arch.image_size, arch.image_size)])
    return network


def write_forms(folder: Path, network: LitePose) -> dict[str, Path]:
    paths = {form: folder / f"{form}.onnx" for form in FORMS}
    size = network.arch.image_size
    export_plainly(paths["plain"], network, size)
    export_plainly(paths["folded"], fold_batch_norms(network), size)
    save_onnx(paths["written"], build_onnx(network))
    export_onnx(paths["ours"], network)
    return paths


def open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def time_opening(paths: dict[str, Path]) -> dict[str, float]:
    times: dict[str, list[float]] = {form: [] for form in paths}
    for _ in range(SESSIONS):
        for form, path in paths.items():
            began = time.process_time()
            open_session(path)
            times[form].append(1000 * (time.process_time() - began))
    return {form: statistics.median(each) for form, each in times.items()}


def time_running(sessions: dict[str, onnxruntime.InferenceSession], image: FloatArray, rounds: int) -> FloatArray:
    """Return milliseconds, shape (rounds, forms); every round begins with another form."""
    times = np.zeros((rounds, len(sessions)), np.float32)
    order = list(enumerate(sessions.values()))
    for turn in range(rounds):
        for place, session in order[turn % len(order) :] + order[: turn % len(order)]:
            began = time.process_time()
            session.run(None, {INPUT_NAME: image})
            times[turn, place] = 1000 * (time.process_time() - began)
    return times


def measure(name: str, arch: Arch, rounds: int) -> str:
    image = np.random.default_rng(0).standard_normal((1, 3, arch.image_size, arch.image_size), np.float32)
    with TemporaryDirectory() as folder:
        paths = write_forms(Path(folder), make_network(arch))
        sessions = {form: open_session(path) for form, path in paths.items()}
        heads = [session.run(None, {INPUT_NAME: image}) for session in sessions.values()]
        for others in heads[1:]:
            for ours, plain in zip(others, heads[0], strict=True):
                np.testing.assert_allclose(ours, plain, atol=1e-4)
        opening = time_opening(paths)
        times = time_running(sessions, image, rounds)
        sizes = {form: path.stat().st_size / 1e6 for form, path in paths.items()}
        nodes = {form: len(onnx.load(path).graph.node) for form, path in paths.items()}
    ratios = np.median(times[:, :1] / times, axis=0)
    verdict = "" if ratios[-1] >= LEAST_RATIO else " slower"
    return (
        f"| {name} | {arch.image_size} | {np.median(times[:, 0]):.2f} | {np.median(times[:, 3]):.2f} "
        f"| {ratios[1]:.3f} | {ratios[2]:.3f} | **{ratios[3]:.3f}**{verdict} "
        f"| {opening['plain']:.0f} / {opening['ours']:.0f} | {sizes['plain']:.2f} / {sizes['ours']:.2f} "
        f"| {nodes['plain']} / {nodes['ours']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(
        "| network | R | plain ms | ours ms | plain / folded | plain / written | plain / ours | open ms | MB | nodes |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, arch in networks():
        print(measure(name, arch, rounds), flush=True)


if __name__ == "__main__":
    main()
