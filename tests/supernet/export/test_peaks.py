"""Peaks found inside the graph against the decoder's candidates, and people grouped from them against its people."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from litepose_ofa.supernet.codec import decode_people
from litepose_ofa.supernet.codec.grouping import Candidates, find_candidates, group_candidates
from litepose_ofa.supernet.evaluation.people import merge_heads
from litepose_ofa.supernet.export.onnx_graph import OnnxGraph, Output
from litepose_ofa.supernet.export.peaks import HEATMAP_STRIDE, PEAK_NAMES, Peaks, add_decoder, peaks_difference

Array = NDArray[np.float32]


def make_scene(size: int, keypoints: int, people: int, seed: int) -> tuple[Array, Array]:
    """Return heads of people at random places, some of them at the edge, on noise: (1, 2K, S/2, S/2), (1, K, S, S)."""
    rng = np.random.default_rng(seed)
    head0 = rng.normal(0, 0.05, (1, 2 * keypoints, size // 2, size // 2))
    head1 = rng.normal(0, 0.05, (1, keypoints, size, size))
    for head, scale in ((head0, 2), (head1, 1)):
        rows, columns = np.mgrid[: head.shape[2], : head.shape[3]] * scale + scale / 2
        spots = np.random.default_rng(seed + 1)
        for person in range(people):
            for joint in range(keypoints):
                x, y = spots.uniform(0, size, 2)
                response = spots.uniform(0.2, 1) * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
                head[0, joint] += response
                if head is head0:
                    head[0, keypoints + joint][response > 0.02] = 1.7 * person
    return head0.astype(np.float32), head1.astype(np.float32)


def run_decoder(heads: tuple[Array, Array], *, most: int, threshold: float) -> Peaks:
    graph = OnnxGraph()
    values = [graph.add_input(f"head{i}", head.shape) for i, head in enumerate(heads)]
    keypoints, size = heads[1].shape[1:3]
    names = add_decoder(graph, values[0], values[1], keypoints=keypoints, size=size, most=most, threshold=threshold)
    shape = (1, keypoints, most)
    model = graph.to_model("decoder", list(map(Output, names, (shape, (*shape, 2), shape))))
    onnx.checker.check_model(model, full_check=True)
    return run(model, **{f"head{i}": head for i, head in enumerate(heads)})


def run(model: onnx.ModelProto, **inputs: Array) -> Peaks:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return Peaks(*session.run(PEAK_NAMES, inputs))


def decoder_maps(heads: tuple[Array, Array]) -> tuple[Array, Array]:
    heatmaps, tags = merge_heads(*map(torch.from_numpy, heads))
    return heatmaps.numpy(), tags.numpy()


def group_peaks(peaks: Peaks) -> tuple[Array, Array]:
    """What is left for a device: group the candidates of one image into people, in input pixels."""
    candidates = []
    for joint_scores, joint_tags in zip(peaks.scores[0], peaks.tags[0], strict=True):
        places = np.flatnonzero(joint_scores > 0)
        slots = np.stack([places, places], axis=1)
        joint = Candidates(slots, joint_scores[places].astype(np.float64), joint_tags[places, None].astype(np.float64))
        candidates.append(joint)
    people = group_candidates(candidates, tag_threshold=1.0)
    joints = people.joints.astype(np.float32)
    person, keypoint = np.nonzero(joints[:, :, 2])
    slots = people.joints[person, keypoint, 0].astype(np.intp)
    joints[person, keypoint, :2] = peaks.locations[0, keypoint, slots]
    return joints, people.scores.astype(np.float32)


@pytest.mark.parametrize(("most", "threshold"), [(30, 0.1), (5, 0.1), (30, 0.0), (30, 0.4), (64, 0.02)])
@pytest.mark.parametrize(("size", "keypoints", "people"), [(48, 14, 4), (16, 1, 2), (32, 17, 0), (64, 5, 9)])
def test_peaks_are_the_decoder_s_candidates(
    size: int, keypoints: int, people: int, most: int, threshold: float
) -> None:
    heads = make_scene(size, keypoints, people, seed=size)
    peaks = run_decoder(heads, most=most, threshold=threshold)
    heatmaps, tags = decoder_maps(heads)
    for joint in range(keypoints):
        expected = find_candidates(heatmaps[0, joint], tags[0, joint][..., None], most=most, threshold=threshold)
        count = len(expected.scores)
        scores, locations, joint_tags = (values[0, joint] for values in peaks)
        assert np.count_nonzero(scores) == count
        np.testing.assert_allclose(scores[:count], expected.scores, atol=1e-6)
        np.testing.assert_array_equal(np.floor(locations[:count] / HEATMAP_STRIDE), expected.locations)
        np.testing.assert_allclose(joint_tags[:count], expected.tags[:, 0], atol=1e-5)
    assert peaks_difference(peaks, heads, threshold=threshold) <= 1e-5


@pytest.mark.parametrize("seed", range(6))
def test_people_grouped_from_peaks_are_the_decoder_s(seed: int) -> None:
    heads = make_scene(64, 14, people=1 + 2 * seed, seed=seed)
    people, scores = group_peaks(run_decoder(heads, most=30, threshold=0.1))
    expected, expected_scores = decode_people(*decoder_maps(heads), refine=False)[0]
    assert people.shape == expected.shape
    assert len(people) > seed
    np.testing.assert_array_equal(people[..., :2], HEATMAP_STRIDE * expected[..., :2])
    np.testing.assert_allclose(people[..., 2], expected[..., 2], atol=1e-6)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-6)


def test_equal_peaks_come_in_row_major_order_and_plateaus_are_whole() -> None:
    head0, head1 = np.zeros((1, 2, 16, 16), np.float32), np.zeros((1, 1, 32, 32), np.float32)
    for y, x in ((20, 3), (4, 25), (4, 6), (4, 7), (31, 31), (0, 0)):
        head1[0, 0, y, x] = 1
    scores, locations, _ = run_decoder((head0, head1), most=8, threshold=0.1)
    assert scores[0, 0].tolist() == [0.5] * 6 + [0, 0]
    expected = [(0, 0), (6, 4), (7, 4), (25, 4), (3, 20), (31, 31)]
    assert np.floor(locations[0, 0, :6] / 2).tolist() == [list(pixel) for pixel in expected]


@pytest.mark.parametrize("which", ["scores", "tags", "locations"])
def test_peaks_of_something_else_are_far_away(which: str) -> None:
    heads = make_scene(32, 3, people=2, seed=0)
    peaks = run_decoder(heads, most=10, threshold=0.1)
    values = getattr(peaks, which).copy()
    values[0, 1, 0] += 0.01
    assert peaks_difference(peaks._replace(**{which: values}), heads, threshold=0.1) >= 0.0099
    moved = peaks._replace(locations=peaks.locations[:, :, ::-1].copy())
    assert peaks_difference(moved, heads, threshold=0.1) > 0.01
    values[0, 1, 0] = np.nan
    assert not peaks_difference(peaks._replace(**{which: values}), heads, threshold=0.1) <= 1
