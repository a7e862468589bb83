"""Where people are found, whatever the maps' frame and the scales: a model that answers with Gaussians."""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.codec import decode_people
from litepose_ofa.supernet.data.geometry import inference_affine, transform_points
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.people import PeoplePredictor, SquarePredictor

SKELETON = Skeleton(name="pair", keypoints=("top", "bottom"), limbs=((0, 1),), sigmas=(0.05, 0.05), area="box")
PLAIN = InferenceSettings(flip_test=False, max_people=1)
SIGMA = 8.0
TAG = 2.5


@dataclass
class GaussianModel:
    """Answers with Gaussians at fixed points, given in the frame of an input of one size; sees any scale of it.

    Attributes:
        points: Per joint x, y, in pixels of the input at scale 1, shape (K, 2).
        input_size: Width and height of the input at scale 1.
        short_sides: Short sides of the inputs seen.
        gain: Responses are multiplied by this per short side; 1 for those that it lacks.
    """

    points: npt.NDArray[np.float64]
    input_size: tuple[int, int]
    short_sides: list[int] = field(default_factory=list)
    gain: dict[int, float] = field(default_factory=dict)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        size = inputs.shape[3], inputs.shape[2]
        self.short_sides.append(min(size))
        zoom = min(size) / min(self.input_size)
        points = (self.points - np.array(self.input_size) / 2) * zoom + np.array(size) / 2
        gain = self.gain.get(min(size), 1.0)
        maps = [gain * self._gaussians(points, size, stride, SIGMA * zoom) for stride in (4, 2)]
        quarter, half = (torch.from_numpy(each).float().expand(len(inputs), -1, -1, -1) for each in maps)
        return torch.cat([quarter, torch.full_like(quarter, TAG * gain)], dim=1), half

    def _gaussians(
        self, points: npt.NDArray[np.float64], size: tuple[int, int], stride: int, sigma: float
    ) -> npt.NDArray[np.float64]:
        rows, columns = ((np.arange(length // stride) + 0.5) * stride for length in size[::-1])
        return np.stack(
            [np.exp(-((columns - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * sigma**2)) for x, y in points.tolist()]
        )


def find(
    points: npt.NDArray[np.float64],
    image_size: tuple[int, int],
    settings: InferenceSettings,
    gain: dict[int, float] | None = None,
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Put a person's joints at points of an image; return the people found there and the inputs' short sides."""
    matrix, input_size = inference_affine(*image_size, 128)
    model = GaussianModel(transform_points(matrix, points), input_size, gain=gain or {})
    image = np.zeros((image_size[1], image_size[0], 3), np.uint8)
    ((people, _),) = PeoplePredictor(model, 128, SKELETON, settings).predict([image])
    assert len(people) == 1
    return people, model.short_sides


IMAGE_SIZES = [(128, 128), (300, 200), (150, 210), (75, 90)]


@pytest.mark.parametrize("to", ["image", "input", "head"])
@pytest.mark.parametrize("image_size", IMAGE_SIZES)
def test_people_are_found_to_a_third_of_a_pixel_of_the_maps(image_size: tuple[int, int], to: str) -> None:
    settings = PLAIN if to == "head" else replace(PLAIN, **{f"project_to_{to}": True})
    pixel = {"image": 1.0, "input": min(image_size) / 128, "head": 2 * min(image_size) / 128}[to]
    for points in np.random.default_rng(image_size[0]).uniform(0.1, 0.9, (8, 2, 2)) * image_size:
        people, _ = find(points, image_size, settings)
        assert np.abs(people[0, :, :2] - points).max() < 0.3 * pixel


def test_projecting_to_a_large_image_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []

    def recording(heatmaps: Tensor, *args: object, **kwargs: object) -> object:
        sizes.append(tuple(heatmaps.shape[2:]))
        return decode_people(heatmaps, *args, **kwargs)

    monkeypatch.setattr("litepose_ofa.supernet.evaluation.people.decode_people", recording)
    points = np.array([[1500.0, 700.0], [2600.0, 1900.0]])
    people, _ = find(points, (3000, 2000), replace(PLAIN, project_to_image=True))
    assert sizes == [(256, 384)]
    assert np.abs(people[0, :, :2] - points).max() < 0.3 * 2000 / 256


@pytest.mark.parametrize("flip_test", [False, True])
@pytest.mark.parametrize("image_size", [(300, 200), (90, 170)])
def test_scales_meet_in_one_frame(image_size: tuple[int, int], flip_test: bool) -> None:
    # On the middle line, so that the mirrored maps of a model that does not look are the mirrored answer.
    centred = np.array([[image_size[0] / 2, 0.3 * image_size[1]], [image_size[0] / 2, 0.8 * image_size[1]]])
    settings = replace(PLAIN, flip_test=flip_test, scales=(0.5, 1.0, 1.7, 2.0), project_to_input=True)
    people, short_sides = find(centred, image_size, settings)
    assert [*dict.fromkeys(short_sides)] == [128, 64, 192, 256]
    assert np.abs(people[0, :, :2] - centred).max() < 0.3 * min(image_size) / 128


def test_heatmaps_are_the_mean_over_the_scales_and_tags_those_of_scale_one() -> None:
    points = np.array([[80.0, 90.0], [200.0, 130.0]])
    one, _ = find(points, (300, 200), PLAIN)
    gain = {128: 1.0, 64: 0.4, 256: 0.1}
    all_three, _ = find(points, (300, 200), replace(PLAIN, scales=(2.0, 1.0, 0.5)), gain)
    np.testing.assert_allclose(all_three[..., :2], one[..., :2], atol=1e-4)
    np.testing.assert_allclose(all_three[..., 2], one[..., 2] * (1 + 0.4 + 0.1) / 3, rtol=0.03)


def test_images_of_a_batch_are_projected_to_their_own_pixels() -> None:
    image_sizes = [(300, 200), (600, 400), (75, 50)]
    matrix, input_size = inference_affine(300, 200, 128)
    points = np.array([[70.0, 33.0], [150.0, 90.0]])
    model = GaussianModel(transform_points(matrix, points), input_size)
    images = [np.zeros((height, width, 3), np.uint8) for width, height in image_sizes]
    settings = replace(PLAIN, project_to_image=True)
    predictor = PeoplePredictor(model, 128, SKELETON, settings)
    for (people, _), (width, _) in zip(predictor.predict(images), image_sizes, strict=True):
        assert np.abs(people[0, :, :2] - points * width / 300).max() < 0.5
    assert predictor.network_seconds > 0
    assert predictor.decode_seconds > 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scales": (0.5, 2.0)}, "one of them 1"),
        ({"size_multiple": 40}, "size_multiple is 40; it must be a positive multiple of 16"),
        ({"project_to_image": True, "project_to_input": True}, "project_to_input"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(InferenceSettings(), **changes)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (96, 96), (1, 1), (1000, 125)])
def test_a_whole_picture_fits_into_the_square(size: tuple[int, int]) -> None:
    model = GaussianModel(np.zeros((2, 2)), (96, 96))
    matrix, input_size = SquarePredictor(model, 96, SKELETON).fit(*size)
    assert input_size == (96, 96)
    corners = transform_points(matrix, [(0, 0), size])
    np.testing.assert_allclose(corners.sum(axis=0), [96, 96], atol=1e-9)
    np.testing.assert_allclose(corners[1] - corners[0], 96 * np.array(size) / max(size))
