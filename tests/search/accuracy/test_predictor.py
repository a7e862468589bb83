"""The accuracy predictor: it learns, it knows where it does not know, and it comes back from its file unchanged."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save as serialise
from scipy.stats import kendalltau

from litepose_ofa.search.accuracy import predictor as predictor_module
from litepose_ofa.search.accuracy.features import GenomeFeatures
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.accuracy.regressors import REGRESSORS, Kind
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.genome import Genomes
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

Accuracies = Callable[[Genomes], NDArray[np.float64]]


def test_features_do_not_see_dropped_blocks_and_tell_networks_apart(small_space: SearchSpace) -> None:
    features = GenomeFeatures(small_space)
    genomes = features.codec.sample(300, np.random.default_rng(0))
    distinct = np.unique(genomes, axis=0)
    assert features(distinct).shape == (len(distinct), features.length)
    assert len(np.unique(features(distinct).round(9), axis=0)) == len(distinct)


def test_features_contain_the_mean_kernel_and_expansion(tiny_cost: CostModel) -> None:
    features = GenomeFeatures(tiny_cost.space)
    codec = tiny_cost.codec
    genomes = codec.sample(30, np.random.default_rng(0))
    columns = features(genomes).T
    for s in range(4):
        means = [np.mean([b.kernel for b in arch.stages[s].blocks]) / 7 for arch in codec.decode_many(genomes)]
        assert any(np.allclose(column, means) for column in columns)


def test_choices_stand_by_themselves(tiny_cost: CostModel) -> None:
    features, codec = GenomeFeatures(tiny_cost.space), tiny_cost.codec
    genomes = codec.sample(200, np.random.default_rng(0))
    columns = features(genomes).T
    present = codec.present(genomes)
    for gene, number in enumerate(codec.cardinalities):
        is_block = ".block" in codec.names[gene]
        ends_too = range(1, number - 1) if is_block else range(number if number > 2 else 0)
        for choice in ends_too:
            taken = (genomes[:, gene] == choice) & present[:, gene]
            assert (columns == taken).all(axis=1).any()


def test_an_ap_that_follows_no_order_of_sizes_is_learned(tiny_cost: CostModel) -> None:
    codec, rng = tiny_cost.codec, np.random.default_rng(2)
    worth = rng.uniform(0, 0.02, (int(codec.cardinalities.max()), codec.length))

    def ap(genomes: Genomes) -> NDArray[np.float64]:
        parts: NDArray[np.float64] = worth[genomes, np.arange(codec.length)] * codec.present(genomes)
        return 0.4 + parts.sum(axis=1)

    genomes, unseen = codec.sample(120, rng), codec.sample(300, rng)
    features = GenomeFeatures(tiny_cost.space)
    process = REGRESSORS["gaussian_process"](features.training_set(genomes, ap(genomes)))
    errors = process.predict_mean(features(unseen)) - ap(unseen)
    assert errors.std() < 0.1 * ap(unseen).std()


def test_held_out_subnets_are_ranked(predictor: AccuracyPredictor, tiny_ap: Accuracies) -> None:
    genomes = GenomeFeatures(predictor.space).codec.sample(500, np.random.default_rng(99))
    mean, std = predictor.predict(genomes)
    assert kendalltau(mean, tiny_ap(genomes)).statistic > 0.8
    assert mean.min() >= 0
    assert mean.max() <= 1
    assert (std > 0).all()
    np.testing.assert_array_equal(predictor.predict_ap(genomes), mean)


@pytest.mark.parametrize("kind", list(REGRESSORS))
def test_file_round_trip(
    tiny_cost: CostModel,
    tiny_ap: Accuracies,
    identity: dict[str, Any],
    tmp_path: Path,
    kind: Kind,
) -> None:
    rng = np.random.default_rng(3)
    genomes, unseen = tiny_cost.codec.sample(20, rng), tiny_cost.codec.sample(50, rng)
    predictor = AccuracyPredictor(tiny_cost.space, genomes, tiny_ap(genomes), identity=identity, kind=kind)
    path = tmp_path / "p.safetensors"
    predictor.save(path)
    loaded = AccuracyPredictor.load(path)
    for ours, theirs in zip(loaded.predict(unseen), predictor.predict(unseen), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (loaded.digest, loaded.kind) == (predictor.digest, kind)
    loaded.require(space=predictor.space, identity=identity)
    np.testing.assert_array_equal(
        loaded.refitted(unseen[:5], tiny_ap(unseen[:5])).predict_ap(unseen),
        predictor.refitted(unseen[:5], tiny_ap(unseen[:5])).predict_ap(unseen),
    )


def test_damaged_files_are_refused(predictor: AccuracyPredictor, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(InputError, match=r"p\.safetensors: no such file"):
        AccuracyPredictor.load(path)
    predictor.save(path)
    whole = path.read_bytes()
    changed = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    other_kind = whole.replace(b'\\"kind\\": \\"gaussian_process\\"', b'\\"kind\\": \\"gaussian_procesz\\"')
    for damaged in (whole[:-100], changed, other_kind, b"", b"x" * 100):
        assert damaged != whole
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"p\.safetensors: is not .*; run litepose fit again$"):
            AccuracyPredictor.load(path)


@pytest.mark.parametrize(
    "change", [{"num_keypoints": 0}, {"space": {}}, {"space": SearchSpace.preset("litepose").to_dict()}]
)
def test_what_a_file_says_is_checked(predictor: AccuracyPredictor, change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    header = {**json.loads(predictor._header), **change}
    path.write_bytes(serialise(predictor._arrays, metadata={"predictor": json.dumps(header)}))
    with pytest.raises(InputError, match=r"p\.safetensors: is not .*; run litepose fit"):
        AccuracyPredictor.load(path)


def test_a_file_with_its_fitted_values_is_fitted_again_and_keeps_its_digest(
    predictor: AccuracyPredictor, tiny_cost: CostModel, tmp_path: Path
) -> None:
    """Earlier versions wrote them."""
    path = tmp_path / "p.safetensors"
    arrays = {**predictor._arrays, "regressor.weights": np.zeros(3)}
    fitted = {"settings": {"mean": 0.4}, "quality": {"mae": 0.1}, "arrays": predictor_module._arrays_digest(arrays)}
    header = json.dumps({**json.loads(predictor._header), **fitted})
    path.write_bytes(serialise(arrays, metadata={"predictor": header}))
    loaded, genomes = AccuracyPredictor.load(path), tiny_cost.codec.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(loaded.predict_ap(genomes), predictor.predict_ap(genomes))
    assert loaded.digest == hashlib.sha256(header.encode()).hexdigest()[:12]


def test_a_refit_adds_samples_and_the_last_measurement_counts(
    predictor: AccuracyPredictor, tiny_cost: CostModel, tiny_ap: Accuracies
) -> None:
    new = tiny_cost.codec.sample(40, np.random.default_rng(11))
    more = predictor.refitted(new, tiny_ap(new))
    unseen = tiny_cost.codec.sample(400, np.random.default_rng(12))

    def error(fitted: AccuracyPredictor) -> float:
        return float(np.abs(fitted.predict_ap(unseen) - tiny_ap(unseen)).mean())

    assert len(more.ap) == len(np.unique(np.concatenate([new, predictor.genomes]), axis=0))
    assert error(more) < error(predictor)
    assert more.digest != predictor.digest
    assert more.identity == predictor.identity
    again = more.refitted(new[:1], np.array([0.99]))
    row = np.flatnonzero((again.genomes == new[0]).all(axis=1))
    assert again.ap[row].tolist() == [0.99]
    with pytest.raises(InputError, match="sample 0 has no finite AP"):
        predictor.refitted(new[:1], np.array([np.nan]))


def test_another_space_or_supernet_is_refused(
    predictor: AccuracyPredictor, identity: dict[str, Any], small_space: SearchSpace
) -> None:
    with pytest.raises(InputError, match="fitted on space 'tiny', not on this 'small'"):
        predictor.require(space=small_space)
    with pytest.raises(InputError, match="weights was 'abc', is 'def'"):
        predictor.require(space=predictor.space, identity=identity | {"weights": "def"})
