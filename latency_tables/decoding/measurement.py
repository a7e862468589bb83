"""Time what a frame costs beyond its network, on this machine: the frame to the input, the outputs to people.

Legend: B batch, N people, K keypoints, R side of the network's square input in pixels.
"""

import itertools
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
from pydantic import Field
from scipy.optimize import nnls
from torch import Tensor

from litepose_ofa.latency_tables.decoding.cost import PEOPLE_EXPONENT, DecodingCost, SizeCost
from litepose_ofa.supernet.codec import make_heatmaps
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import require
from litepose_ofa.supernet.evaluation.people import InferenceSettings, SquarePredictor, require_size
from litepose_ofa.supernet.validation import Count, Whole, settings

SIGMA = 2.0
"""Of the joints' Gaussians, in heatmap pixels."""

TAG_SPACING = 1.5
"""Between the tags of two people: more than the distance at which candidates are told apart."""

MISSING_SHARE = 0.1
"""Of the joints, those that the maps do not show."""


@settings
class DecodingSettings:
    """What is measured.

    Attributes:
        scenes: Scenes of each number of people, at each size.
        rounds: Times that all scenes are run, in turns.
        frame: Width and height of the frames in pixels.
    """

    image_sizes: tuple[int, ...] = (96, 128, 256, 320, 384, 448, 512)
    people_counts: tuple[Whole, ...] = (0, 1, 2, 5, 10, 20, 30)
    scenes: Annotated[int, Field(ge=2)] = 5
    rounds: Count = 15
    frame: tuple[Count, Count] = (640, 480)

    def __post_init__(self) -> None:
        for size in self.image_sizes:
            require_size("image_sizes", size)
        require(_ascends(self.image_sizes, 1), "image_sizes", self.image_sizes, "ascending sizes, at least one")
        ascend = _ascends(self.people_counts, 2)
        require(ascend, "people_counts", self.people_counts, "ascending numbers of at least 0, two or more")


def measure_decoding(
    name: str,
    settings: DecodingSettings,
    rng: np.random.Generator,
    *,
    clock: Callable[[], float] = time.process_time,
    on_round: Callable[[int], object] = lambda done: None,
) -> DecodingCost:
    """Measure on this machine, one thread; sets the threads of OpenCV and torch.

    A round runs every scene once, so that what disturbs the machine disturbs all alike; a scene's cost is its median
    over the rounds, after one that does not count.

    Args:
        rng: Draws frames and scenes.
        clock: Seconds; the default counts the processor's time, which other processes disturb least.
        on_round: Called after each round with 1.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    frame = rng.integers(0, 256, (settings.frame[1], settings.frame[0], 3), dtype=np.uint8)
    cells = list(itertools.product(settings.image_sizes, settings.people_counts, range(settings.scenes)))
    predictors = {}
    for cell in cells:
        heads = make_heads(cell[0], cell[1], rng)
        without_network = partial(lambda heads, images: heads, heads)
        predictors[cell] = SquarePredictor(without_network, cell[0], CROWDPOSE, InferenceSettings(flip_test=False))
    times: dict[tuple[int, int, int], list[float]] = {cell: [] for cell in cells}
    for round_number in range(settings.rounds + 1):
        for cell, predictor in predictors.items():
            began = clock()
            predictor.predict([frame])
            elapsed = clock() - began
            if round_number:
                times[cell].append(1000 * elapsed)
        on_round(1)
    medians = {cell: statistics.median(values) for cell, values in times.items()}
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    processor = re.search(r"^(?:model name|Hardware|Processor)\s*:(.*)", text, re.MULTILINE)
    return DecodingCost(
        name=name,
        processor=processor.group(1).strip() if processor else "unknown",
        software=", ".join(f"{library} {version(library)}" for library in ("numpy", "scipy", "torch")),
        threads=1,
        clock="processor time" if clock is time.process_time else "wall clock",
        num_keypoints=CROWDPOSE.num_keypoints,
        frame=settings.frame,
        date=date.today().isoformat(),
        made_by="litepose measure-decoding",
        notes="frame to input, heads to maps, maps to people in frame pixels; no flip test, no camera, no drawing",
        sizes=tuple(
            fit_size(size, {n: [medians[size, n, s] for s in range(settings.scenes)] for n in settings.people_counts})
            for size in settings.image_sizes
        ),
    )


def fit_size(image_size: int, scene_ms: Mapping[int, Sequence[float]]) -> SizeCost:
    """Fit the cost at one size by least squares of the relative error over all scenes; people cost at least nothing.

    Args:
        image_size: R.
        scene_ms: Milliseconds of single scenes by number of people: two numbers of people or more, three scenes in all.
    """
    people = np.array([n for n, values in scene_ms.items() for _ in values], float)
    ms = np.array([value for values in scene_ms.values() for value in values])
    terms = np.stack([np.ones_like(ms), people**PEOPLE_EXPONENT], axis=1) / ms[:, None]
    (base, person), _ = nnls(terms, np.ones_like(ms))
    residuals = terms @ (base, person) - 1
    return SizeCost(
        image_size=image_size,
        base_ms=round(float(base), 4),
        person_ms=round(float(person), 4),
        spread=round(float(np.sqrt((residuals**2).sum() / (len(ms) - 2))), 4),
        measured_ms={n: round(statistics.median(values), 4) for n, values in scene_ms.items()},
    )


def make_heads(image_size: int, people: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw the outputs of a network that sees N people at random places.

    Returns:
        Head 0, (1, 2K, R/4, R/4), heatmaps then AE tags, and head 1, (1, K, R/2, R/2), heatmaps: noise, and a Gaussian
        a joint with its person's tag around it.
    """
    num_keypoints = CROWDPOSE.num_keypoints
    centres = rng.uniform(0.15, 0.85, (people, 1, 2))
    joints = image_size * (centres + rng.uniform(-0.12, 0.12, (people, num_keypoints, 2)))
    shown = rng.random((people, num_keypoints, 1)) >= MISSING_SHARE
    responses = rng.uniform(0.3, 1, people)
    keypoints = torch.tensor(np.concatenate([joints, shown], axis=2), dtype=torch.float32)
    quarter, half = (
        torch.tensor(rng.normal(0, 0.02, (1, num_keypoints, side, side)), dtype=torch.float32)
        for side in (image_size // 4, image_size // 2)
    )
    tags = torch.tensor(rng.normal(0, 0.3, quarter.shape), dtype=torch.float32)
    for number, (person, response) in enumerate(zip(keypoints, responses, strict=True)):
        for heatmaps in (quarter, half):
            own = response * make_heatmaps(
                person[None, None], input_size=image_size, heatmap_size=heatmaps.shape[-1], sigma=SIGMA
            )
            if heatmaps is quarter:
                tags[own > quarter.clamp(min=0.02)] = TAG_SPACING * number + rng.normal(0, 0.05)
            torch.maximum(heatmaps, own, out=heatmaps)
    return torch.cat([quarter, tags], dim=1), half


def _ascends(values: Sequence[int], least: int) -> bool:
    return len(values) >= least and all(a < b for a, b in itertools.pairwise(values))
