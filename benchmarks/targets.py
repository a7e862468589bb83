"""Target heatmaps of a batch: ours against a loop over the joints; one core.

    python benchmarks/targets.py

16 images of 512 px, 10 people, 17 keypoints, both heads. The loop is what one writes first: for every joint a Gaussian
over the whole map, and the maximum with what is there.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from litepose_ofa.supernet.codec.heatmap import CUTOFF_SIGMAS, make_heatmaps

IMAGES, PEOPLE, KEYPOINTS, SIZE, SIGMA = 16, 10, 17, 512, 2.0
HEADS = (SIZE // 4, SIZE // 2)


def joint_by_joint(keypoints: Tensor, side: int) -> Tensor:
    maps = torch.zeros(IMAGES, KEYPOINTS, side, side)
    centres = torch.arange(side) + 0.5
    for image in range(IMAGES):
        for person in range(PEOPLE):
            for joint in range(KEYPOINTS):
                x, y, visibility = keypoints[image, person, joint].tolist()
                x, y = x * side / SIZE, y * side / SIZE
                if visibility == 0 or not (0 <= x < side and 0 <= y < side):
                    continue
                across, down = centres[None, :] - x, centres[:, None] - y
                gaussian = torch.exp(-(across**2 + down**2) / (2 * SIGMA**2))
                gaussian[(across.abs() > CUTOFF_SIGMAS * SIGMA).expand_as(gaussian)] = 0
                gaussian[(down.abs() > CUTOFF_SIGMAS * SIGMA).expand_as(gaussian)] = 0
                maps[image, joint] = torch.maximum(maps[image, joint], gaussian)
    return maps


def ours(keypoints: Tensor, side: int) -> Tensor:
    return make_heatmaps(keypoints, input_size=SIZE, heatmap_size=side, sigma=SIGMA)


def median_ms(make: Callable[[Tensor, int], Tensor], keypoints: Tensor, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        for side in HEADS:
            make(keypoints, side)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(IMAGES, PEOPLE, KEYPOINTS, 2, generator=generator) * SIZE
    keypoints = torch.cat([places, torch.full((*places.shape[:3], 1), 2.0)], dim=-1)
    for side in HEADS:
        difference = (ours(keypoints, side) - joint_by_joint(keypoints, side)).abs().max().item()
        assert difference < 1e-6, difference
        print(f"{side} x {side}: largest difference {difference:.1e}")
    loop, vectorised = median_ms(joint_by_joint, keypoints, 3), median_ms(ours, keypoints, args.rounds)
    zeros = median_ms(lambda points, side: torch.zeros(IMAGES, KEYPOINTS, side, side), keypoints, args.rounds)
    print(
        f"joint by joint {loop:.0f} ms, ours {vectorised:.1f} ms ({zeros:.1f} of it zeros): {loop / vectorised:.0f} x"
    )


if __name__ == "__main__":
    main()
