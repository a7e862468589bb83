"""The accuracy predictor: it learns, it knows where it does not know, and it comes back from its file unchanged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from search.cost import CostModel
from search.features import GenomeFeatures
from search.gaussian_process import GaussianProcess, Kernel
from search.genome import Genomes
from search.predictor import AccuracyPredictor
from supernet.errors import InputError
from supernet.space import SearchSpace

Accuracies = Callable[[Genomes], NDArray[np.float64]]


def fitted_process(rows: int = 40) -> tuple[GaussianProcess, NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    y = x[:, 0] - 0.5 * x[:, 1] * x[:, 2]
    return GaussianProcess.fit(x, y, np.ones(3)), x, y


def test_kernel_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    kernel = Kernel(length_scale=1.5, deviation=0.3)
    expected = [[u @ v / 5 + 0.3 * np.exp(-((u - v) ** 2).sum() / (2 * 5 * 1.5**2)) for v in b] for u in a]
    np.testing.assert_allclose(kernel(a, b), expected)
    np.testing.assert_allclose(kernel.variance(a), np.diag(kernel(a, a)))


def test_posterior_is_that_of_the_normal_equations() -> None:
    process, x, y = fitted_process()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    covariance = np.linalg.inv(process.precision)
    noise = covariance - process.kernel(z, z)
    np.testing.assert_allclose(noise, noise[0, 0] * np.eye(len(x)), atol=1e-6)
    np.testing.assert_allclose(
        process.predict_mean(x), y.mean() + process.kernel(z, z) @ np.linalg.solve(covariance, y - y.mean())
    )


def test_a_straight_line_is_continued_beyond_the_samples() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    process = GaussianProcess.fit(x, 3 * x[:, 0] + 1, np.ones(1))
    np.testing.assert_allclose(process.predict_mean(np.array([[-2.0], [2.0]])), [-5, 7], atol=0.1)


def test_uncertainty_grows_away_from_the_samples() -> None:
    process, x, _ = fitted_process()
    assert process.predict_std(x).max() < process.predict_std(x + 5).min()


def test_features_that_never_vary_do_not_matter() -> None:
    _, x, y = fitted_process()
    constant = np.concatenate([x, np.full((len(x), 1), 7.3)], axis=1)
    process = GaussianProcess.fit(constant, y, np.ones(4))
    changed = constant + np.array([0, 0, 0, 100.0])
    np.testing.assert_array_equal(process.predict_mean(changed), process.predict_mean(constant))


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


def test_held_out_subnets_are_ranked(predictor: AccuracyPredictor, tiny_ap: Accuracies) -> None:
    genomes = GenomeFeatures(predictor.space).codec.sample(500, np.random.default_rng(99))
    mean, std = predictor.predict(genomes)
    assert kendalltau(mean, tiny_ap(genomes)).statistic > 0.8
    assert predictor.quality.kendall_tau > 0.75
    assert predictor.quality.mae < 0.02
    assert mean.min() >= 0
    assert mean.max() <= 1
    assert (std > 0).all()
    np.testing.assert_array_equal(predictor.predict_ap(genomes), mean)


def test_noise_alone_is_not_ranked(tiny_cost: CostModel, identity: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    genomes = tiny_cost.codec.sample(80, rng)
    predictor = AccuracyPredictor.fit(tiny_cost.space, genomes, rng.uniform(0.4, 0.6, 80), identity=identity)
    assert abs(predictor.quality.kendall_tau) < 0.35


def test_equal_samples_give_no_correlation_and_no_warning(tiny_cost: CostModel, identity: dict[str, Any]) -> None:
    genomes = tiny_cost.codec.sample(20, np.random.default_rng(5))
    predictor = AccuracyPredictor.fit(tiny_cost.space, genomes, np.full(20, 0.5), identity=identity)
    np.testing.assert_allclose(predictor.predict_ap(genomes), 0.5)
    assert predictor.quality.kendall_tau == 0


def test_file_round_trip(predictor: AccuracyPredictor, identity: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    predictor.save(path)
    loaded = AccuracyPredictor.load(path)
    genomes = GenomeFeatures(predictor.space).codec.sample(50, np.random.default_rng(1))
    for ours, theirs in zip(loaded.predict(genomes), predictor.predict(genomes), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.digest == predictor.digest
    assert loaded.quality == predictor.quality
    loaded.require(space=predictor.space, identity=identity)


def test_damaged_files_are_refused(predictor: AccuracyPredictor, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(InputError, match=r"p\.safetensors: no such file"):
        AccuracyPredictor.load(path)
    predictor.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not an accuracy predictor"):
        AccuracyPredictor.load(path)


def test_another_space_or_supernet_is_refused(
    predictor: AccuracyPredictor, identity: dict[str, Any], small_space: SearchSpace
) -> None:
    with pytest.raises(InputError, match="fitted on space 'tiny', not on this 'small'"):
        predictor.require(space=small_space)
    with pytest.raises(InputError, match="weights was 'abc', is 'def'"):
        predictor.require(space=predictor.space, identity=identity | {"weights": "def"})


def test_bad_samples_are_refused(tiny_cost: CostModel, identity: dict[str, Any]) -> None:
    genomes = tiny_cost.codec.sample(12, np.random.default_rng(0))
    with pytest.raises(InputError, match="at least 10"):
        AccuracyPredictor.fit(tiny_cost.space, genomes[:9], np.ones(9), identity=identity)
    ap = np.full(12, 0.5)
    ap[3] = np.nan
    with pytest.raises(InputError, match="sample 3 has no finite AP"):
        AccuracyPredictor.fit(tiny_cost.space, genomes, ap, identity=identity)
