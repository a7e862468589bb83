"""What evaluation costs beside the network: AP of many people, a whole evaluation on a CPU, memory of a large file.

    python benchmarks/evaluation.py                          # 5,000 images x 10 people; tiny and search-XS, end to end
    python benchmarks/evaluation.py --annotations 1000000    # and the peak memory of evaluating from such a file

One core. The network runs, but answers with what a perfect one would, so that there are people to decode as on real
pictures. The shares are of the whole time, reading and warping included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.codec import make_heatmaps
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.geometry import inference_affine, transform_points
from litepose_ofa.supernet.data.skeletons import CROWDPOSE, SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import (
    InferenceSettings,
    ResampledAP,
    compare_people,
    evaluate_keypoints,
    keypoint_breakdown,
)
from litepose_ofa.supernet.evaluation.inference import predict_dataset
from litepose_ofa.supernet.evaluation.keypoint_ap import require_engine
from litepose_ofa.supernet.evaluation.people import PeoplePredictor
from litepose_ofa.supernet.network.litepose import LitePose

WIDTH, HEIGHT = 640, 480
LIMIT_S = 60.0
LIMIT_SHARE = 0.15


def people_of(image: int, count: int, skeleton: Skeleton, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for _ in range(count):
        size = rng.uniform((40, 80), (200, 300)).round(1)
        corner = (rng.random(2) * ((WIDTH, HEIGHT) - size)).round(1)
        points = (corner + rng.random((skeleton.num_keypoints, 2)) * size).round(1)
        visibility = rng.choice([0, 1, 2], (skeleton.num_keypoints, 1), p=[0.2, 0.2, 0.6])
        yield {
            "image_id": image,
            "category_id": 1,
            "bbox": [*corner.tolist(), *size.tolist()],
            "area": float(0.6 * size.prod()),
            "iscrowd": 0,
            "keypoints": np.hstack([points * (visibility > 0), visibility]).ravel().tolist(),
            "num_keypoints": int(np.count_nonzero(visibility)),
        }


def write_annotations(path: Path, images: int, people: int, skeleton: Skeleton) -> None:
    """Write the file person by person; from the 1,000th image on the people repeat."""
    rng = np.random.default_rng(0)
    known = [list(people_of(0, people, skeleton, rng)) for _ in range(min(images, 1000))]
    entries = (
        {"id": i + 1, "file_name": f"{i + 1}.jpg", "width": WIDTH, "height": HEIGHT, "crowdIndex": i % 10 / 10}
        for i in range(images)
    )
    with path.open("w") as file:
        file.write('{"categories": [{"id": 1, "name": "person"}], "images": [')
        for number, entry in enumerate(entries):
            file.write(f"{', ' if number else ''}{json.dumps(entry)}")
        file.write('], "annotations": [')
        for number in range(images * people):
            image = number // people
            person = known[image % len(known)][number % people] | {"id": number + 1, "image_id": image + 1}
            file.write(f"{', ' if number else ''}{json.dumps(person)}")
        file.write("]}")


def noisy_results(path: Path, images: int, skeleton: Skeleton) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    results = []
    for person in json.loads(path.read_text())["annotations"]:
        if person["image_id"] <= images:
            points = np.array(person["keypoints"]).reshape(skeleton.num_keypoints, 3)
            points[:, :2] += rng.normal(0, 0.06 * person["area"] ** 0.5 * rng.random(), points[:, :2].shape)
            results.append(
                {"image_id": person["image_id"], "keypoints": points.ravel().tolist(), "score": rng.random()}
            )
    return results


def time_ap(images: int, people: int) -> None:
    for skeleton in SKELETONS.values():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "people.json"
            write_annotations(path, images, people, skeleton)
            results = noisy_results(path, images, skeleton)
            began = time.perf_counter()
            evaluate_keypoints(path, [], skeleton)
            read = time.perf_counter()
            metrics = evaluate_keypoints(path, results, skeleton)
            done = time.perf_counter()
            print(
                f"{skeleton.name}, {images} images x {people} people: read and checked in {read - began:.1f} s, "
                f"AP {100 * metrics['AP']:.1f} in {done - read:.1f} s; allowed {LIMIT_S:.0f} s together"
            )
            time_parts(path, results, skeleton)


def time_parts(path: Path, results: list[dict[str, Any]], skeleton: Skeleton) -> None:
    try:
        require_engine("faster-coco-eval")
    except InputError:
        print("  faster-coco-eval is not installed")
    else:
        began = time.perf_counter()
        evaluate_keypoints(path, results, skeleton, engine="faster-coco-eval")
        print(f"  by faster-coco-eval in {time.perf_counter() - began:.1f} s")
    comparison = compare_people(path, results, skeleton)
    matches = comparison.matches
    began = time.perf_counter()
    interval = ResampledAP.of(matches, resamples=500).interval()
    drawn = time.perf_counter()
    keypoint_breakdown(comparison)
    done = time.perf_counter()
    shown = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    print(f"  interval of 500 resamples {drawn - began:.1f} s: {shown}; breakdown {done - drawn:.1f} s")


@dataclass
class PerfectAnswers:
    """Runs a network, and answers with the targets of the labels of images that come in the dataset's order."""

    network: LitePose
    dataset: KeypointDataset
    flip_test: bool
    answers: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    calls: int = 0

    def prepare(self, batch_size: int) -> None:
        """Make the answers beforehand, batch by batch, and the mirrored ones after each."""
        for start in range(0, len(self.dataset), batch_size):
            records = self.dataset.records[start : start + batch_size]
            heads = [self._answer(record) for record in records]
            batch = tuple(torch.stack(maps) for maps in zip(*heads, strict=True))
            self.answers.append((batch[0], batch[1]))
            if self.flip_test:
                order = torch.tensor(self.dataset.skeleton.flip_indices)
                head0_order = torch.cat([order, order + len(order)])
                self.answers.append((batch[0].flip(3)[:, head0_order], batch[1].flip(3)[:, order]))

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.network(inputs)
        self.calls += 1
        return self.answers[self.calls - 1]

    def _answer(self, record: Any) -> tuple[Tensor, Tensor]:
        matrix, (width, height) = inference_affine(record.width, record.height, self.network.arch.image_size)
        keypoints = torch.tensor(record.keypoints, dtype=torch.float64)
        keypoints[..., :2] = torch.from_numpy(transform_points(matrix, keypoints[..., :2].numpy()))
        heads = [
            make_heatmaps(
                keypoints[None], input_size=(width, height), heatmap_size=(width // s, height // s), sigma=2.0
            )[0].float()
            for s in (4, 2)
        ]
        columns, rows = ((torch.arange(side // 4) + 0.5) * 4 for side in (width, height))
        distances = (columns - keypoints[..., 0, None, None]) ** 2
        distances = distances + (rows[:, None] - keypoints[..., 1, None, None]) ** 2
        distances[keypoints[..., 2] == 0] = torch.inf
        return torch.cat([heads[0], 3.0 * distances.argmin(dim=0)]).float(), heads[1]


def time_evaluation(name: str, arch: Arch, dataset: KeypointDataset, batch_size: int, *, flip_test: bool) -> None:
    network = LitePose(arch).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = PerfectAnswers(network, dataset, flip_test)
    model.prepare(batch_size)
    settings = InferenceSettings(flip_test=flip_test)
    evaluate_keypoints(dataset.annotations_path, [], dataset.skeleton)  # the file is read
    began = time.perf_counter()
    predictor = PeoplePredictor(model, arch.image_size, dataset.skeleton, settings)
    found = predict_dataset(predictor, dataset, batch_size=batch_size)
    predicted = time.perf_counter()
    metrics = evaluate_keypoints(dataset.annotations_path, found.results, dataset.skeleton)
    total, ap_seconds = time.perf_counter() - began, time.perf_counter() - predicted
    share = (found.decode_seconds + ap_seconds) / total
    print(
        f"{name}, {arch.image_size} px{', flip test' if flip_test else ''}: {len(dataset) / total:.1f} images/s; "
        f"network {found.network_seconds / total:.1%}, decoding {found.decode_seconds / total:.1%}, "
        f"AP {ap_seconds / total:.1%}: decoding + AP {share:.1%} (AP of perfect answers {100 * metrics['AP']:.0f})"
    )


def time_evaluations(images: int, people: int, batch_size: int) -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_annotations(folder / "people.json", images, people, CROWDPOSE)
        for image in range(images):
            noise = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
            cv2.imwrite(str(folder / f"{image + 1}.jpg"), cv2.resize(noise, (WIDTH, HEIGHT)))
        dataset = KeypointDataset.load(folder / "people.json", folder, CROWDPOSE)
        print(f"{images} images of {people} people, batches of {batch_size}")
        time_evaluation("tiny, largest", SearchSpace.preset("tiny").largest(), dataset, batch_size, flip_test=False)
        for flip_test in (False, True):
            time_evaluation("search-XS", published_archs()["search-XS"], dataset, batch_size, flip_test=flip_test)
    print(f"allowed for search-XS: {LIMIT_SHARE:.0%}")


def measure_memory(annotations: int) -> None:
    """Write a file and evaluate 5,000 of its images in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.json"
        write_annotations(path, annotations // 10, 10, SKELETONS["coco"])
        command = [sys.executable, __file__, "--memory-of", str(path)]
        began = time.perf_counter()
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        before, read, evaluated = (int(kibibytes) / 1024 for kibibytes in answer.split())
        print(
            f"{annotations} annotations of 17 keypoints, {path.stat().st_size / 2**20:.0f} MiB of JSON: peak "
            f"{read:.0f} MiB when read, {evaluated:.0f} MiB when 5,000 images were evaluated "
            f"({before:.0f} MiB the program alone), {time.perf_counter() - began:.0f} s"
        )


def report_memory(path: Path) -> None:
    print(peak_kibibytes())
    evaluate_keypoints(path, [], "coco", image_ids=[1])
    print(peak_kibibytes())
    rng = np.random.default_rng(0)
    results = [
        {"image_id": image, "keypoints": rng.uniform(0, 400, 51).tolist(), "score": rng.random()}
        for image in range(1, 5001)
        for _ in range(10)
    ]
    evaluate_keypoints(path, results, "coco", image_ids=range(1, 5001))
    print(peak_kibibytes())


def peak_kibibytes() -> int:
    """Return the most memory that this process had resident; getrusage's figure may be the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, help="of the AP's time")
    parser.add_argument("--people", type=int, default=10, help="of each image there")
    parser.add_argument("--pictures", type=int, default=64, help="of the whole evaluation")
    parser.add_argument("--crowd", type=int, default=4, help="people of each picture there")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--annotations", type=int, default=0, help="of the file whose memory is measured; 0: none")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if args.memory_of:
        report_memory(args.memory_of)
        return
    time_ap(args.images, args.people)
    time_evaluations(args.pictures, args.crowd, args.batch)
    if args.annotations:
        measure_memory(args.annotations)


if __name__ == "__main__":
    main()
