"""A large annotation file: seconds and peak memory of reading it, in a process of its own.

    python benchmarks/data/annotations.py [--annotations 1000000] [--folder /tmp]

COCO's form, with 17 keypoints a person and a polygon of 20 points each; every tenth person has no keypoints, every
hundredth is a crowd with a mask. Beside ours, with ``--whole``, what ``json.load`` needs for the same file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages
from litepose_ofa.supernet.data.skeletons import COCO

PEOPLE_AN_IMAGE = 5
RUNS = [100_000] + [40, 600] * 100 + [640 * 480 - 100_000 - 64_000]


def write(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    keypoints = rng.integers(0, 480, (1000, 51))
    keypoints[:, 2::3] = rng.integers(0, 3, (1000, 17))
    points = [json.dumps(row.tolist()) for row in keypoints]
    nobody = json.dumps([0] * 51)
    polygons = [json.dumps([np.round(row, 2).tolist()]) for row in rng.uniform(0, 480, (1000, 40))]
    crowd = json.dumps({"size": [480, 640], "counts": RUNS})
    with path.open("w") as file:
        file.write('{"info": {}, "images": [')
        for number in range(count // PEOPLE_AN_IMAGE):
            comma = ", " if number else ""
            file.write(f'{comma}{{"id": {number}, "file_name": "{number:012d}.jpg", "width": 640, "height": 480}}')
        file.write('], "annotations": [')
        for number in range(count):
            is_crowd, is_empty = number % 100 == 99, number % 10 == 9
            file.write(
                f'{", " if number else ""}{{"id": {number}, "image_id": {number // PEOPLE_AN_IMAGE}, "category_id": 1, '
                f'"iscrowd": {int(is_crowd)}, "area": 1234.5, "bbox": [10.5, 20.25, 100.0, 200.0], '
                f'"keypoints": {nobody if is_empty else points[number % 1000]}, '
                f'"segmentation": {crowd if is_crowd else polygons[number % 1000]}}}'
            )
        names = json.dumps(list(COCO.keypoints))
        file.write(f'], "categories": [{{"id": 1, "name": "person", "keypoints": {names}}}]}}')


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path, *, whole: bool) -> None:
    before, began = peak_mb(), time.process_time()
    if whole:
        content = json.loads(path.read_text())
        images, people = len(content["images"]), len(content["annotations"])
    else:
        records = AnnotatedImages(load_annotations(path, COCO), Path("images"))
        images, people = len(records), sum(len(record.keypoints) for record in records)
    seconds = time.process_time() - began
    name = "json.loads" if whole else "load_annotations, every record made once"
    memory = f"peak {peak_mb():.0f} MB ({before:.0f} before)"
    print(f"{name}: {images} images, {people} people, {seconds:.1f} s of CPU, {memory}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure, whole=args.whole)
        return
    path = args.folder / f"annotations.{os.getpid()}.json"
    try:
        write(path, args.annotations)
        print(f"{args.annotations} annotations, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        for flags in [[], ["--whole"]] if args.whole else [[]]:
            subprocess.run([sys.executable, __file__, "--measure", str(path), *flags], check=True)
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
