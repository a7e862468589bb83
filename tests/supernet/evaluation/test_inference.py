"""Every coordinate convention at once: models that know the answer must score as if they did."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.codec import make_heatmaps
from litepose_ofa.supernet.data.coco.dataset import BadImageError, KeypointDataset
from litepose_ofa.supernet.data.geometry import inference_affine, transform_points
from litepose_ofa.supernet.data.loading.batches import IMAGE_MEAN, IMAGE_STD
from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import InferenceSettings, evaluate_dataset, inference
from litepose_ofa.supernet.evaluation.inference import predict_dataset
from litepose_ofa.supernet.evaluation.people import DEFAULT_SETTINGS, PeoplePredictor, PoseModel, predict_maps
from litepose_ofa.supernet.evaluation.subnets import NetworkEvaluator
from litepose_ofa.supernet.files import read_json, write_json

IMAGE_SIZES = [(200, 160), (160, 200), (128, 128), (300, 140), (90, 75), (130, 128)]
INPUT_SIZE = 128
TAG_SPACING = 3.0
LEVEL_STEP = 30


def write_dataset(folder: Path, skeleton: Skeleton) -> KeypointDataset:
    """Write JPEGs that carry their index as red, and their left half as dark blue; two people side by side on each."""
    rng = np.random.default_rng(skeleton.num_keypoints)
    images, annotations = [], []
    for index, (width, height) in enumerate(IMAGE_SIZES):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, width // 2 :, 0] = 255
        pixels[..., 2] = 20 + LEVEL_STEP * index
        cv2.imwrite(str(folder / f"{index}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])
        images.append({"id": 50 + index, "file_name": f"{index}.jpg", "width": width, "height": height})
        for left in (0.05, 0.55):
            low, size = np.array([left * width, 0.06 * height]), np.array([0.4 * width, 0.88 * height])
            points = low + size * rng.random((skeleton.num_keypoints, 2))
            visibility = rng.choice([0, 1, 2], (skeleton.num_keypoints, 1), p=[0.1, 0.3, 0.6])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 50 + index,
                    "category_id": 1,
                    "bbox": [*low.tolist(), *size.tolist()],
                    "area": float(size.prod()),
                    "iscrowd": 0,
                    "keypoints": np.hstack([points * (visibility > 0), visibility]).flatten().tolist(),
                    "num_keypoints": int(np.count_nonzero(visibility)),
                }
            )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    write_json(folder / "people.json", content)
    return KeypointDataset.load(folder / "people.json", folder, skeleton)


@dataclass
class PerfectModel:
    """Knows which image it sees and which way round, and answers with the targets of its labels."""

    dataset: KeypointDataset

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        answers = [self._answer(image) for image in inputs]
        return torch.stack([head0 for head0, _ in answers]), torch.stack([head1 for _, head1 in answers])

    def _answer(self, image: Tensor) -> tuple[Tensor, Tensor]:
        height, width = image.shape[1:]
        rgb = (image * torch.tensor(IMAGE_STD)[:, None, None] + torch.tensor(IMAGE_MEAN)[:, None, None]) * 255
        index = round((float(rgb[0, height // 2, width // 2]) - 20) / LEVEL_STEP)
        mirrored = bool(rgb[2, height // 2, width // 2 - 6] > rgb[2, height // 2, width // 2 + 6])
        record = self.dataset.records[index]
        matrix, size = inference_affine(record.width, record.height, INPUT_SIZE)
        assert size == (width, height)
        keypoints = torch.tensor(record.keypoints, dtype=torch.float64)
        keypoints[..., :2] = torch.from_numpy(transform_points(matrix, keypoints[..., :2].numpy()))
        if mirrored:
            keypoints = keypoints[:, list(self.dataset.skeleton.flip_indices)]
            keypoints[..., 0] = width - keypoints[..., 0]
        head0, head1 = (
            make_heatmaps(
                keypoints[None], input_size=(width, height), heatmap_size=(width // stride, height // stride), sigma=2.0
            )[0]
            for stride in (4, 2)
        )
        return torch.cat([head0, self._tags(keypoints, width, height)]).float(), head1.float()

    def _tags(self, keypoints: Tensor, width: int, height: int) -> Tensor:
        """The tag of a pixel is that of the person whose joint is nearest."""
        columns = (torch.arange(width // 4) + 0.5) * 4
        rows = (torch.arange(height // 4) + 0.5) * 4
        distances = (columns - keypoints[..., 0, None, None]) ** 2 + (
            rows[:, None] - keypoints[..., 1, None, None]
        ) ** 2
        distances[keypoints[..., 2] == 0] = torch.inf
        return TAG_SPACING * distances.argmin(dim=0)


def predictor(model: PoseModel, skeleton: Skeleton, settings: InferenceSettings = DEFAULT_SETTINGS) -> PeoplePredictor:
    return PeoplePredictor(model, INPUT_SIZE, skeleton, settings)


@pytest.fixture
def people(tmp_path: Path) -> KeypointDataset:
    return write_dataset(tmp_path, SKELETONS["crowdpose"])


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
@pytest.mark.parametrize("project_to_image", [False, True])
@pytest.mark.parametrize("flip_test", [False, True])
def test_a_perfect_model_is_measured_as_perfect(
    tmp_path: Path, skeleton: Skeleton, flip_test: bool, project_to_image: bool
) -> None:
    dataset = write_dataset(tmp_path, skeleton)
    settings = InferenceSettings(flip_test=flip_test, project_to_image=project_to_image)
    result = evaluate_dataset(predictor(PerfectModel(dataset), dataset.skeleton, settings), dataset, batch_size=4)
    assert result.metrics["AP"] > 0.95
    assert result.metrics["AR"] > 0.95
    assert (len(result.predictions.image_ids), result.predictions.skipped) == (len(IMAGE_SIZES), ())
    assert min(result.predictions.network_seconds, result.predictions.decode_seconds) > 0


DOT = Skeleton(name="dot", keypoints=("dot",), limbs=(), sigmas=(0.05,), area="box")


def dot_model(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Sees brightness: its heatmaps are the image itself, averaged to their resolution."""
    grey = inputs.mean(dim=1, keepdim=True) - inputs.mean(dim=1, keepdim=True).amin(dim=(2, 3), keepdim=True)
    quarter = torch.nn.functional.avg_pool2d(grey, 4)
    return torch.cat([quarter, torch.zeros_like(quarter)], dim=1), torch.nn.functional.avg_pool2d(grey, 2)


def dot_image(width: int, height: int, x: float, y: float) -> npt.NDArray[np.uint8]:
    """A bright Gaussian around a point of the image, pixel i covering [i, i + 1)."""
    spread = 0.05 * min(width, height)
    rows, columns = np.mgrid[:height, :width] + 0.5
    bright = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2))
    return np.repeat(bright.astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize(("width", "height"), [(128, 128), (200, 150), (75, 90), (320, 130)])
def test_pixels_of_the_image_and_coordinates_of_people_agree(width: int, height: int, flip_test: bool) -> None:
    rng = np.random.default_rng(width)
    points = rng.uniform(0.2, 0.8, (40, 2)) * (width, height)
    images = [dot_image(width, height, x, y) for x, y in points.tolist()]
    settings = InferenceSettings(flip_test=flip_test)
    people = PeoplePredictor(dot_model, 128, DOT, settings).predict(images)
    found = np.array([keypoints[0, 0, :2] for keypoints, _ in people])
    scale = min(width, height) / 128
    assert np.abs(found - points).max() < 1.5 * scale
    assert np.abs((found - points).mean(axis=0)).max() < 0.15


def test_results_come_in_the_order_of_the_file_in_any_batch_size(people: KeypointDataset) -> None:
    found = predictor(PerfectModel(people), people.skeleton)
    one, many = (predict_dataset(found, people, batch_size=batch_size) for batch_size in (1, 16))
    assert list(one.results) == list(many.results)
    assert one.image_ids == many.image_ids == tuple(range(50, 56))
    assert (np.diff(one.results.image_ids) >= 0).all()
    part = evaluate_dataset(found, people.subset([1, 4]))  # the model's index is that of the whole dataset
    assert len(part.predictions.image_ids) == 2
    assert part.metrics["AP"] > 0.95


def test_an_image_whose_input_has_no_end_is_a_bad_image(
    people: KeypointDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "MAX_INPUT_PIXELS", 256 * 128)
    model, strip = predictor(PerfectModel(people), people.skeleton), people.records[3]
    with pytest.raises(BadImageError, match=r"3\.jpg: is 300x140, and would be an input of 320x128; at most 32768"):
        predict_dataset(model, people)
    people.on_bad_image = "skip"
    found = predict_dataset(model, people)
    assert (found.skipped, len(found.image_ids)) == ((strip.path,), len(people) - 1)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_bad_images_are_named_or_skipped_and_left_out(
    people: KeypointDataset, damage: Callable[[Path], object]
) -> None:
    damage(people.records[2].path)
    found = predictor(PerfectModel(people), people.skeleton)
    with pytest.raises(BadImageError, match=r"2\.jpg"):
        evaluate_dataset(found, people)
    people.on_bad_image = "skip"
    result = evaluate_dataset(found, people)
    assert result.predictions.skipped == (people.records[2].path,)
    assert len(result.predictions.image_ids) == len(people) - 1
    assert result.metrics["AP"] > 0.95
    for record in people.records:
        record.path.write_bytes(b"")
    with pytest.raises(InputError, match="not one of 6 images can be read"):
        evaluate_dataset(found, people)


def test_merged_maps_are_the_mean_of_heads_and_directions() -> None:
    skeleton = SKELETONS["crowdpose"]
    generator = torch.Generator().manual_seed(0)
    head0, head1 = torch.randn(2, 28, 8, 16, generator=generator), torch.randn(2, 14, 16, 32, generator=generator)
    inputs = torch.zeros(2, 3, 32, 64)
    plain = InferenceSettings(flip_test=False)

    def constant(_: Tensor) -> tuple[Tensor, Tensor]:
        return head0, head1

    heatmaps, tags = predict_maps(constant, inputs, skeleton=skeleton, settings=plain)
    doubled = torch.nn.functional.interpolate(head0, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(heatmaps, (doubled[:, :14] + head1) / 2)
    torch.testing.assert_close(tags[..., 0], doubled[:, 14:])
    both_heatmaps, both_tags = predict_maps(constant, inputs, skeleton=skeleton)
    for channel, mirror in enumerate(skeleton.flip_indices):
        torch.testing.assert_close(both_heatmaps[:, channel], (heatmaps[:, channel] + heatmaps[:, mirror].flip(2)) / 2)
        torch.testing.assert_close(both_tags[:, channel, ..., 1], tags[:, mirror, ..., 0].flip(2))
    assert not heatmaps.requires_grad


def test_sizes_and_batches_out_of_range_are_named(people: KeypointDataset) -> None:
    with pytest.raises(InputError, match="image_size is 100"):
        PeoplePredictor(dot_model, 100, DOT)
    with pytest.raises(InputError, match="batch_size is 0"):
        predict_dataset(PeoplePredictor(dot_model, 128, DOT), people, batch_size=0)


def rewritten(
    dataset: KeypointDataset, skeleton: Skeleton, change: Callable[[dict[str, Any]], object]
) -> KeypointDataset:
    """The same images, with other annotations."""
    content = read_json(dataset.annotations_path)
    change(content)
    path = dataset.annotations_path.with_name("rewritten.json")
    write_json(path, content)
    return KeypointDataset.load(path, dataset.images_dir, skeleton)


def without_keypoints(content: dict[str, Any]) -> None:
    for person in content["annotations"]:
        person.update(keypoints=[], num_keypoints=0)


def test_a_model_of_another_skeleton_is_measured_by_the_keypoints_of_the_same_names(people: KeypointDataset) -> None:
    def as_coco(content: dict[str, Any]) -> None:
        for person in content["annotations"]:
            person["keypoints"] = [0] * 15 + person["keypoints"][:36]  # CrowdPose's first twelve are COCO's last

    coco = rewritten(people, SKELETONS["coco"], as_coco)
    result = evaluate_dataset(predictor(PerfectModel(people), people.skeleton), coco)
    assert result.comparison.skeleton.keypoints == people.skeleton.keypoints[:12]
    assert result.metrics["AP"] > 0.95


def test_a_dataset_without_people_gives_no_metrics(people: KeypointDataset) -> None:
    """Its images are looked at all the same; one whose people are not labelled is refused."""
    empty = rewritten(people, people.skeleton, lambda content: content.update(annotations=[]))
    assert empty.is_people_free
    assert not people.is_people_free
    result = evaluate_dataset(predictor(PerfectModel(people), people.skeleton), empty)
    assert result.metrics == {}
    assert len(result.predictions.results) > 0
    unlabelled = rewritten(people, people.skeleton, without_keypoints)
    with pytest.raises(InputError, match="no labelled person in the 6 images to evaluate"):
        evaluate_dataset(predictor(PerfectModel(people), people.skeleton), unlabelled)


def test_a_split_without_people_measures_a_network_only_if_allowed(people: KeypointDataset) -> None:
    empty = rewritten(people, people.skeleton, lambda content: content.update(annotations=[]))
    NetworkEvaluator(empty, settings=DEFAULT_SETTINGS, batch_size=4, allow_people_free=True)
    with pytest.raises(InputError, match="no labelled person in the 6 images to evaluate"):
        NetworkEvaluator(empty, settings=DEFAULT_SETTINGS, batch_size=4)
    unlabelled = rewritten(people, people.skeleton, without_keypoints)
    with pytest.raises(InputError, match="no labelled person in the 6 images to evaluate"):
        NetworkEvaluator(unlabelled, settings=DEFAULT_SETTINGS, batch_size=4, allow_people_free=True)
