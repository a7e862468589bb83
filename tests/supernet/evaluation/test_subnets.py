"""Subnets are measured with statistics of their own, without a trace on the supernet, and an accuracy says of what."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.loading.batches import SampleRequest, TrainingImages, collate
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.evaluation.people import InferenceSettings
from litepose_ofa.supernet.evaluation.subnets import Calibration, NetworkEvaluator, SubnetEvaluator
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.bn_recalibration import recalibrate_batch_norm
from litepose_ofa.supernet.network.checkpoints import weights_digest
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.extract import extract_subnet

SETTINGS = InferenceSettings(flip_test=False)
MakeEvaluator = Callable[..., SubnetEvaluator]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images to train on and four to measure on."""
    folder = tmp_path_factory.mktemp("people")
    for split, count in (("train", 8), ("val", 4)):
        generate_split(folder, split, count, 0, PeopleSettings(image_size=(96, 96)), CROWDPOSE)
    return folder


def load(root: Path, split: str) -> KeypointDataset:
    return KeypointDataset.load(*split_paths(root, split), CROWDPOSE)


@pytest.fixture
def train(root: Path) -> KeypointDataset:
    return load(root, "train")


@pytest.fixture
def val(root: Path) -> KeypointDataset:
    return load(root, "val")


@pytest.fixture
def calibration(train: KeypointDataset) -> Calibration:
    return Calibration(train, num_images=8, batch_size=4)


@pytest.fixture
def make_evaluator(tiny_supernet: LitePoseSupernet, calibration: Calibration, val: KeypointDataset) -> MakeEvaluator:
    def make(**changes: Any) -> SubnetEvaluator:
        values = {"supernet": tiny_supernet, "calibration": calibration, "dataset": val, "settings": SETTINGS}
        return SubnetEvaluator(**{**values, "batch_size": 4, **changes})

    return make


@pytest.mark.parametrize(("num_images", "batch_size", "sizes"), [(8, 3, [3, 3]), (5, 8, [5]), (99, 4, [4, 4])])
def test_calibration_batches_are_equal_and_of_plain_images_each_at_most_once(
    train: KeypointDataset, num_images: int, batch_size: int, sizes: list[int]
) -> None:
    plain = TrainingImages(train, augmentation=None)
    wanted = collate([plain[SampleRequest(index, 96, 0)] for index in range(len(train))]).images
    batches = list(Calibration(train, num_images=num_images, batch_size=batch_size, seed=1).batches(96))
    assert [tuple(batch.shape) for batch in batches] == [(size, 3, 96, 96) for size in sizes]
    places = [int((wanted == image).flatten(1).all(dim=1).nonzero()) for image in torch.cat(batches)]
    assert len(set(places)) == sum(sizes)


def test_calibration_is_read_once_for_each_resolution(
    calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [batch.clone() for size in (96, 128) for batch in calibration.batches(size)]
    monkeypatch.setattr(KeypointDataset, "read_image", None)
    again = [batch for size in (96, 128) for batch in calibration.batches(size)]
    assert all(torch.equal(a, b) for a, b in zip(before, again, strict=True))
    assert {batch.shape[2] for batch in again} == {96, 128}


def test_a_prepared_subnet_is_the_extracted_one_recalibrated_and_the_supernet_is_left_as_it_was(
    make_evaluator: MakeEvaluator, calibration: Calibration, tiny_supernet: LitePoseSupernet
) -> None:
    before = copy.deepcopy(tiny_supernet.state_dict())
    evaluator = make_evaluator()
    for arch in (evaluator.space.smallest(), evaluator.space.largest()):
        expected = extract_subnet(tiny_supernet, arch)
        recalibrate_batch_norm(expected, calibration.batches(arch.image_size))
        found = evaluator.prepare(arch)
        assert (found.arch, found.training) == (arch, False)
        state = found.state_dict()
        assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    assert all(torch.equal(before[name], value) for name, value in tiny_supernet.state_dict().items())


def test_an_accuracy_is_a_fraction_and_repeats(make_evaluator: MakeEvaluator) -> None:
    first, again = make_evaluator(), make_evaluator()
    arch = first.space.smallest()
    result = first.evaluate_prepared(first.prepare(arch))
    assert all(0 <= value <= 1 for value in result.metrics.values())
    assert len(result.predictions.image_ids) == 4
    assert again.measure(arch) == first.measure(arch) == result.metrics["AP"]


def test_equal_measurements_have_one_identity(
    make_evaluator: MakeEvaluator, tiny_supernet: LitePoseSupernet, root: Path
) -> None:
    again = make_evaluator(
        supernet=copy.deepcopy(tiny_supernet),
        calibration=Calibration(load(root, "train"), num_images=8, batch_size=4),
        dataset=load(root, "val"),
        settings=InferenceSettings(flip_test=False),
        batch_size=2,
    )
    identity = make_evaluator().identity
    assert again.identity == identity
    assert json.loads(json.dumps(identity)) == identity
    assert (identity["split"], identity["num_images"]) == ("val", 4)


def test_whatever_changes_an_accuracy_changes_the_identity(
    make_evaluator: MakeEvaluator,
    calibration: Calibration,
    tiny_supernet: LitePoseSupernet,
    train: KeypointDataset,
    val: KeypointDataset,
    tmp_path: Path,
) -> None:
    retrained = copy.deepcopy(tiny_supernet)
    with torch.no_grad():
        retrained.get_parameter("stage.0.0.depth_conv.0.matrix_5to3")[0, 0] += 1e-3
    annotations, _ = split_paths(val.images_dir.parents[1], "val")
    content = read_json(annotations)
    content["annotations"][0]["keypoints"][0] += 1
    relabelled = tmp_path / "val.json"
    relabelled.write_text(json.dumps(content))
    evaluators = [
        make_evaluator(),
        make_evaluator(supernet=retrained),
        make_evaluator(dataset=val.first(3)),
        make_evaluator(dataset=val.subset([0, 1, 3])),
        make_evaluator(dataset=train),
        make_evaluator(dataset=KeypointDataset.load(relabelled, val.images_dir, CROWDPOSE)),
        make_evaluator(calibration=dataclasses.replace(calibration, num_images=7)),
        make_evaluator(calibration=dataclasses.replace(calibration, batch_size=2)),
        make_evaluator(calibration=dataclasses.replace(calibration, seed=1)),
        make_evaluator(calibration=dataclasses.replace(calibration, dataset=val)),
        make_evaluator(settings=InferenceSettings(flip_test=True)),
        make_evaluator(settings=dataclasses.replace(SETTINGS, refine=False)),
    ]
    identities = {json.dumps(evaluator.identity) for evaluator in evaluators}
    assert len(identities) == len(evaluators)


def test_a_network_of_its_own_is_measured_as_the_subnet_it_was(
    make_evaluator: MakeEvaluator, val: KeypointDataset
) -> None:
    evaluator = make_evaluator()
    network = evaluator.prepare(evaluator.space.smallest())
    alone = NetworkEvaluator(val, settings=SETTINGS, batch_size=4)
    assert alone.evaluate_prepared(network).metrics == evaluator.evaluate_prepared(network).metrics
    identity = alone.identity_of(network)
    assert identity["weights"] == weights_digest(network) != evaluator.identity["weights"]
    shared = {"split", "images", "num_images", "inference", "device"}
    assert {key: identity[key] for key in shared} == {key: evaluator.identity[key] for key in shared}
    assert set(identity) == {"weights", *shared}
