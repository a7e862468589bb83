"""Several datasets in a training: shares of an epoch, keypoints by name, what is labelled where, in any process."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.augmentation import Augmentation
from litepose_ofa.supernet.data.loading.batches import Sample, SampleRequest, TrainingImages, collate_bytes
from litepose_ofa.supernet.data.loading.mixture import Member, sample_counts
from litepose_ofa.supernet.data.loading.mosaic import Mosaic
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.errors import InputError

SIDE = 40
GREEN = {"own": 50, "empty": 100, "coco": 150}
"""Of every pixel, by dataset."""
STILL = {"rotation_degrees": 0.0, "scale": (0.6, 0.6), "translation": 0.0}
"""Cut-outs, of any cell of a mosaic, that stay in the image."""

MakeDataset = Callable[..., KeypointDataset]
MakeImages = Callable[..., TrainingImages]


@pytest.fixture
def dataset(tmp_path: Path) -> MakeDataset:
    """Write images of one colour, ids from 1, with so many people each, every keypoint at a place of its own."""

    def make(name: str, skeleton: Skeleton, images: int, people: int) -> KeypointDataset:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        rng, content = np.random.default_rng(len(name)), {"images": [], "annotations": []}
        for number in range(1, images + 1):
            cv2.imwrite(str(folder / f"{number}.png"), np.full((SIDE, SIDE, 3), (0, GREEN[name], number), np.uint8))
            picture = {"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE}
            content["images"].append(picture)
            for _ in range(people):
                points = rng.uniform(10, 30, (skeleton.num_keypoints, 2)).round(2)
                keypoints = np.column_stack([points, rng.integers(1, 3, len(points))]).ravel().tolist()
                person = {"id": len(content["annotations"]) + 1, "image_id": number, "bbox": [8, 8, 24, 24]}
                content["annotations"].append({**person, "area": 300, "keypoints": keypoints})
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return KeypointDataset.load(tmp_path / f"{name}.json", folder, skeleton)

    return make


@pytest.fixture
def mixed(dataset: MakeDataset) -> MakeImages:
    """Twenty images with a person, four without anybody (a fifth of an epoch), three of COCO's with two (a tenth)."""

    def make(**augmentation: Any) -> TrainingImages:
        empty = Member.of("empty", dataset("empty", CROWDPOSE, 4, 0), CROWDPOSE, share=0.2)
        coco = Member.of("coco", dataset("coco", COCO, 3, 2), CROWDPOSE, share=0.1, unlabelled_weight=0.5)
        own = dataset("own", CROWDPOSE, 20, 1)
        return TrainingImages(own, augmentation=Augmentation(**STILL, **augmentation), mixture=[empty, coco])

    return make


def epoch(images: TrainingImages, seed: int = 0) -> list[Sample]:
    return [images[SampleRequest(index, 16, seed + index)] for index in range(len(images))]


def dataset_of(sample: Sample) -> str:
    return str(sample.image_id).split("/")[0] if isinstance(sample.image_id, str) else "own"


def test_an_epoch_is_one_pass_over_the_own_images_and_the_others_shares_of_it(mixed: MakeImages) -> None:
    samples = epoch(mixed())
    assert Counter(map(dataset_of, samples)) == {"own": 20, "empty": 6, "coco": 3}
    assert [sample.image_id for sample in samples[:20]] == list(range(1, 21))
    assert all((sample.image[..., 1] == GREEN[dataset_of(sample)]).all() for sample in samples)


@pytest.mark.parametrize("shares", [(), (0.0,), (0.1, 0.03), (0.6, 0.3), (0.001,)])
@pytest.mark.parametrize("count", [1, 20, 8500])
def test_shares_are_exact_within_half_a_sample(count: int, shares: tuple[float, ...]) -> None:
    counts = sample_counts(count, shares)
    whole = count / (1 - sum(shares))
    assert all(abs(found - share * whole) <= 0.5 for found, share in zip(counts, shares, strict=True))


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.6)])
def test_shares_that_leave_nothing_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"^training.mixture: the sum of shares is 1.*; it must be below 1"):
        sample_counts(10, shares)


def test_every_image_of_a_further_dataset_comes_also_those_without_people(mixed: MakeImages) -> None:
    images = mixed()
    with pytest.raises(InputError, match="none of 4 images has a labelled person"):
        images.mixture[0].dataset.with_people()
    seen = Counter(sample.image_id for seed in range(12) for sample in epoch(images, 100 * seed)[20:])
    assert set(seen) == {*(f"empty/{number}" for number in range(1, 5)), *(f"coco/{number}" for number in range(1, 4))}
    assert max(seen.values()) < 3 * min(seen.values())


def test_a_sample_is_the_same_in_any_process(mixed: MakeImages) -> None:
    """Every request names its image, its augmentation and its mosaic; other seeds give other images."""
    images = mixed(mosaic=Mosaic(probability=0.5))
    requests = [[SampleRequest(index, 32, 7 * index + part) for part in range(2)] for index in range(0, 29, 2)]
    alone = [collate_bytes([images[request] for request in batch]) for batch in requests]
    loaded = DataLoader(images, batch_sampler=requests, collate_fn=collate_bytes, num_workers=2)
    for ours, theirs in zip(loaded, alone, strict=True):
        assert (ours.image_ids, ours.labellings) == (theirs.image_ids, theirs.labellings)
        for name in ("images", "keypoints", "mask", "sources"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert len({images[SampleRequest(20, 16, seed)].image_id for seed in range(20)}) == 4


@pytest.mark.parametrize(("own", "other"), [(CROWDPOSE, COCO), (COCO, CROWDPOSE)])
def test_keypoints_are_taken_over_by_their_names(dataset: MakeDataset, own: Skeleton, other: Skeleton) -> None:
    theirs = dataset("coco", other, 3, 2)
    member = Member.of("other", theirs, own, share=0.1)
    assert [name for name, known in zip(own.keypoints, member.labelling.joints, strict=True) if known] == [
        name for name in own.keypoints if name in other.keypoints
    ]
    assert sum(member.labelling.joints) == 12
    for record, mapped in zip(theirs.records, member.dataset.records, strict=True):
        assert mapped.keypoints.shape == (2, own.num_keypoints, 3)
        for before, after in zip(record.keypoints, mapped.keypoints, strict=True):
            for index, name in enumerate(own.keypoints):
                known = name in other.keypoints
                assert np.array_equal(after[index], before[other.keypoints.index(name)] if known else np.zeros(3))
    assert Member.of("same", theirs, other, share=0.1).dataset is theirs


def test_people_without_a_shared_keypoint_are_not_there(dataset: MakeDataset, tmp_path: Path) -> None:
    dataset("coco", COCO, 2, 1)
    content = json.loads((tmp_path / "coco.json").read_text())
    face = content["annotations"][0]
    face["keypoints"][15:] = [0] * 36
    (tmp_path / "coco.json").write_text(json.dumps(content))
    there = KeypointDataset.load(tmp_path / "coco.json", tmp_path / "coco", COCO)
    mapped = Member.of("coco", there, CROWDPOSE, share=0.1).dataset
    assert [len(record.keypoints) for record in there.records] == [1, 1]
    assert [len(record.keypoints) for record in mapped.records] == [0, 1]


def test_a_keypoint_whose_mirror_image_nobody_labels_is_not_labelled(dataset: MakeDataset) -> None:
    """Else a mirrored picture would have labels, and a loss, where there are none."""
    names = ("left_knee", "left_hip", "right_hip", "tail")
    odd = Skeleton("odd", names, (), (0.1,) * 4, "box", ((1, 2),))
    member = Member.of("odd", dataset("coco", odd, 1, 1), CROWDPOSE, share=0.1)
    known = [name for name, is_known in zip(CROWDPOSE.keypoints, member.labelling.joints, strict=True) if is_known]
    assert known == ["left_hip", "right_hip"]
    tail = Skeleton("tail", ("tail",), (), (0.1,), "box")
    with pytest.raises(InputError, match="its skeleton tail has no keypoint of crowdpose's"):
        Member.of("tail", dataset("coco", tail, 1, 1), CROWDPOSE, share=0.1)


def test_a_mosaic_is_of_the_same_mixture_and_says_what_is_whose(mixed: MakeImages) -> None:
    images = mixed(mosaic=Mosaic(probability=1.0, pictures=(2, 4)))
    samples = [images[SampleRequest(index % len(images), 32, index)] for index in range(600)]
    greens, others = np.array([*GREEN.values()]), Counter[str]()
    for sample in samples:
        assert sample.sources is not None
        assert sample.sources.shape == sample.mask.shape == (16, 16)
        by_pixel = sample.sources.repeat(2, axis=0).repeat(2, axis=1)
        assert np.array_equal(sample.image[..., 1], greens[by_pixel])
        shown = {(name, red) for name, green in GREEN.items() for red in sample.image[sample.image[..., 1] == green, 0]}
        others.update(name for name, _ in shown)
        others[dataset_of(sample)] -= 1
    shares = [others[name] / others.total() for name in GREEN]
    assert shares == pytest.approx([20 / 29, 6 / 29, 3 / 29], abs=0.04)


def test_of_one_dataset_nothing_is_said(dataset: MakeDataset) -> None:
    images = TrainingImages(dataset("own", CROWDPOSE, 3, 1), augmentation=None)
    batch = collate_bytes([images[SampleRequest(index, 16, index)] for index in range(3)])
    assert (batch.sources, batch.labellings, batch.image_ids) == (None, (), (1, 2, 3))


def test_a_batch_is_moved_and_split_with_its_sources(mixed: MakeImages) -> None:
    images = mixed()
    batch = collate_bytes([images[SampleRequest(index, 16, 0)] for index in (0, 20, 26, 1)])
    assert batch.sources is not None
    assert batch.sources[:, 0, 0].tolist() == [0, 1, 2, 0]
    assert [labelling.unlabelled_weight for labelling in batch.labellings] == [1.0, 0.5]
    parts = [part.to("cpu") for part in batch.split(2)]
    assert torch.equal(torch.cat([part.sources for part in parts if part.sources is not None]), batch.sources)
    assert [part.labellings for part in parts] == [batch.labellings] * 2
