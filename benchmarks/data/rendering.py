"""Rendered images a second and core, JPEG file included; one thread.

    python benchmarks/data/rendering.py --people street --image-size 640 480

Any presets of ``conf/people``. ``cpu`` counts the time that the process itself ran,
which another program on the machine does not lengthen.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import yaml

from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split

PRESETS = Path(__file__).parents[2] / "conf" / "people"


def images_per_second(settings: PeopleSettings, count: int, seed: int) -> tuple[float, float]:
    """Return images a second by the wall clock and by the process's own time."""
    with tempfile.TemporaryDirectory() as folder:
        began, began_cpu = time.perf_counter(), time.process_time()
        generate_split(folder, "train", count, seed, settings, CROWDPOSE)
        return count / (time.perf_counter() - began), count / (time.process_time() - began_cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", nargs="+", default=["clear", "crowded", "street"], help="presets of conf/people")
    parser.add_argument("--image-size", nargs=2, type=int, default=[640, 480], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = args.image_size
    for preset in args.people:
        values = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text())
        settings = PeopleSettings(**{**values, "image_size": (width, height)})
        images_per_second(settings, 8, args.seed)  # patterns are drawn, files are cached
        wall, cpu = images_per_second(settings, args.images, args.seed)
        print(f"{preset}, {width} x {height}: {wall:.0f} images/s by the clock, {cpu:.0f} by cpu time")


if __name__ == "__main__":
    main()
