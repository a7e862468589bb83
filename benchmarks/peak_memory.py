"""Peak activation memory by liveness analysis against the block that ONNX Runtime's arena plans for feature maps.

    python benchmarks/peak_memory.py

Smallest, largest and random networks of every space. "As written" is the plan that the analysis models: the order of
the network's definition, plain layout, memory free once a map is dead. "Default" is what ONNX Runtime plans if not told
otherwise (see planned_memory.py). Neither counts the image, the outputs, weights, or kernels' working memory.
"""

import argparse
import random
import tempfile
from pathlib import Path

from planned_memory import measure_planned_bytes

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.export.onnx_graph import export_onnx
from litepose_ofa.supernet.network.litepose import LitePose

TOLERANCE = 0.15
MEGABYTE = 1e6


def networks(space: SearchSpace, samples: int) -> list[tuple[str, Arch]]:
    rng = random.Random(0)
    drawn = [(f"random {i}", space.sample(rng)) for i in range(samples)]
    return [("smallest", space.smallest()), ("largest", space.largest()), *drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2, help="random networks of each space")
    args = parser.parse_args()
    print("space              network     input   analysis  as written   error   default  above")
    with tempfile.TemporaryDirectory() as folder:
        for space in PRESETS.values():
            for name, arch in networks(space, args.samples):
                path = Path(folder) / "subnet.onnx"
                export_onnx(path, LitePose(arch).eval())
                ours = measure_complexity(arch).peak_activation_bytes
                planned, default = measure_planned_bytes(path), measure_planned_bytes(path, "default")
                error = ours / planned - 1
                print(
                    f"{space.name:17s}  {name:8s}  {arch.image_size:7d}  {ours / MEGABYTE:6.2f} MB"
                    f"  {planned / MEGABYTE:7.2f} MB  {100 * error:+5.1f} %  {default / MEGABYTE:5.2f} MB"
                    f"  {100 * (default / ours - 1):+4.0f} %{'' if abs(error) <= TOLERANCE else '  misses its limit'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
