"""Decoding speed against the tests' plain implementation; one core.

    python benchmarks/decoding.py

20 people of 14 joints, Gaussians on noisy maps, single precision, flip test (2 tags a pixel) and none, a share of the
joints missing from the maps; "filled" are the joints that refinement added. The two are checked to give the same people
and timed in turns. A figure is the least of several medians of the processor time, which other processes on the
machine disturb least.
"""

import argparse
import runpy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from litepose_ofa.supernet.codec import decode_people

Maps = npt.NDArray[np.float32]

NUM_PEOPLE, NUM_KEYPOINTS, SIGMA, TAG_SPACING = 20, 14, 2.0, 1.5
LIMITS = {(512, 640): (60.0, 10.0), (224, 288): (12.0, 1.0)}
"""Most milliseconds, and least ratio, by the map's height and width."""

MISSING_SHARES = (0.0, 0.1, 0.3)
ORACLE = Path(__file__).parents[1] / "tests" / "supernet" / "codec" / "plain_grouping.py"


def make_scene(height: int, width: int, num_tags: int, missing: float, seed: int = 0) -> tuple[Maps, Maps]:
    """Return heatmaps, shape (K, H, W), and tags, shape (K, H, W, L), of people at random places."""
    rng = np.random.default_rng(seed)
    heatmaps = rng.normal(0, 0.02, (NUM_KEYPOINTS, height, width)).astype(np.float32)
    tags = rng.normal(0, 0.3, (*heatmaps.shape, num_tags)).astype(np.float32)
    rows, columns = np.mgrid[:height, :width] + 0.5
    for person in range(NUM_PEOPLE):
        centre = rng.uniform(0.15, 0.85, 2) * (width, height)
        for joint in np.flatnonzero(rng.random(NUM_KEYPOINTS) >= missing):
            x, y = centre + rng.uniform(-0.12, 0.12, 2) * (width, height)
            response = rng.uniform(0.3, 1) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SIGMA**2))
            tags[joint][response > np.maximum(heatmaps[joint], 0.02)] = TAG_SPACING * person + rng.normal(0, 0.05)
            heatmaps[joint] = np.maximum(heatmaps[joint], response)
    return heatmaps, tags


def median_ms(decode: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        decode()
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times)


def measure(
    heatmaps: Maps, tags: Maps, plain_decode: Callable[..., tuple[Maps, Maps]], turns: int
) -> tuple[float, ...]:
    """Return the joints that refinement adds, our milliseconds and the plain implementation's."""
    found, _ = decode_people(heatmaps[None], tags[None], refine=False)[0]
    people, scores = decode_people(heatmaps[None], tags[None])[0]
    expected, expected_scores = plain_decode(heatmaps, tags)
    assert np.array_equal(people, expected)
    assert np.array_equal(scores, expected_scores)
    ours, plain = [], []
    for _ in range(turns):
        ours.append(median_ms(lambda: decode_people(heatmaps[None], tags[None]), 7))
        plain.append(median_ms(lambda: plain_decode(heatmaps, tags), 1))
    return np.count_nonzero(people[..., 2]) - np.count_nonzero(found[..., 2]), min(ours), min(plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    plain_decode = runpy.run_path(str(ORACLE))["plain_decode"]
    print("map        tags  missing  filled     ours     plain  ratio")
    for (height, width), (limit_ms, limit_ratio) in LIMITS.items():
        for num_tags in (1, 2):
            for missing in MISSING_SHARES:
                scene = make_scene(height, width, num_tags, missing)
                filled, ours, plain = measure(*scene, plain_decode, args.turns)
                verdict = "" if ours <= limit_ms and plain >= limit_ratio * ours else "  misses its limit"
                print(
                    f"{height} x {width}  {num_tags:4d}  {missing:7.0%}  {filled:6d}"
                    f"  {ours:4.1f} ms  {plain:5.0f} ms  {plain / ours:5.0f}{verdict}"
                )


if __name__ == "__main__":
    main()
