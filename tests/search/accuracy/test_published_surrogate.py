"""The published surrogate: through the published points, monotone where it says so, a gene at a time."""

import numpy as np
import pytest

from litepose_ofa.search.accuracy.published_surrogate import PublishedSurrogate
from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.published import KERNEL_ABLATION_AP, PUBLISHED_AP, published_archs
from litepose_ofa.supernet.archs.space import SearchSpace, StageSpace
from litepose_ofa.supernet.errors import InputError

LITEPOSE = SearchSpace.preset("litepose")


def full_depth_space() -> SearchSpace:
    """The published depths, kernels up to 9."""
    stages = tuple(StageSpace(s.channels, s.depths[-1:], (3, 5, 7, 9), (6,)) for s in LITEPOSE.stages)
    return SearchSpace("full", LITEPOSE.image_sizes, LITEPOSE.stem_channels, stages, LITEPOSE.deconv_channels)


def deep_space() -> SearchSpace:
    """Kernels up to 9 and depths beyond the published ones."""
    kernels, expansions = (3, 5, 7, 9), (1, 6, 8)
    stages = (
        StageSpace((24, 32), (2, 7), kernels, expansions),
        StageSpace((64,), (8,), kernels, expansions),
        StageSpace((96,), (10, 12), kernels, expansions),
        StageSpace((160,), (1, 10), kernels, expansions),
    )
    return SearchSpace("deep", (256, 512), (24,), stages, ((64,), (48,), (32,)))


@pytest.mark.parametrize("dataset", ["crowdpose", "coco"])
def test_published_points(dataset: str) -> None:
    surrogate = PublishedSurrogate(LITEPOSE, dataset=dataset)
    archs = published_archs()
    for name, ap in PUBLISHED_AP[dataset].items():
        (accuracy,) = surrogate.evaluate([archs[name]])
        assert accuracy.ap == pytest.approx(ap, abs=1e-9)
        assert (accuracy.source, accuracy.std) == ("published-surrogate", 0)
    assert surrogate.describe()["evaluator"] == "published-surrogate"
    assert surrogate.describe()["dataset"] == dataset


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_kernel_ablation_as_ratios(kernel: int) -> None:
    space = full_depth_space()
    codec, surrogate = GenomeCodec(space), PublishedSurrogate(space)
    changed, full = space.largest().to_dict(), space.largest().to_dict()
    for arch, size in ((changed, kernel), (full, 7)):
        for stage in arch["backbone_setting"]:
            stage["block_setting"] = [[6, size]] * stage["num_blocks"]
    aps = surrogate.predict_ap(codec.encode_many(map(Arch.from_dict, (changed, full))))
    assert aps[0] / aps[1] == pytest.approx(KERNEL_ABLATION_AP[kernel] / KERNEL_ABLATION_AP[7])


@pytest.mark.parametrize("space", [LITEPOSE, SearchSpace.preset("tiny"), deep_space()], ids=lambda space: space.name)
def test_a_larger_choice_never_lowers_ap_up_to_kernel_7(space: SearchSpace) -> None:
    codec, surrogate = GenomeCodec(space), PublishedSurrogate(space)
    rng = np.random.default_rng(0)
    genomes = codec.sample(60, rng)
    ap = surrogate.predict_ap(genomes)
    for column, choices in enumerate(codec.choices):
        rows = genomes[:, column] < len(choices) - 1
        larger = genomes[rows].copy()
        larger[:, column] += 1
        larger = codec.canonicalise(larger)
        change = surrogate.predict_ap(larger) - ap[rows]
        differs = (larger != genomes[rows]).any(axis=1)
        if codec.names[column].endswith("kernel"):
            above = np.array(choices)[genomes[rows, column] + 1] > 7
            assert (change[above & differs] < 0).all()
            rows_up = ~above & differs
        else:
            rows_up = differs
        assert (change[rows_up] > 0).all(), codec.names[column]


def test_dropped_blocks_add_nothing_and_batches_agree() -> None:
    codec, surrogate = GenomeCodec(LITEPOSE), PublishedSurrogate(LITEPOSE)
    genomes = codec.sample(200, np.random.default_rng(1))
    alone = [surrogate.predict_ap(genome[None])[0] for genome in genomes[:20]]
    np.testing.assert_allclose(surrogate.predict_ap(genomes)[:20], alone)
    assert ((surrogate.predict_ap(genomes) > 0.2) & (surrogate.predict_ap(genomes) < 0.65)).all()
    shallow = SearchSpace(
        "shallow",
        LITEPOSE.image_sizes,
        LITEPOSE.stem_channels,
        tuple(StageSpace(s.channels, s.depths[:1], s.kernels, s.expansions) for s in LITEPOSE.stages),
        LITEPOSE.deconv_channels,
    )
    same = PublishedSurrogate(shallow)
    arch: Arch = shallow.largest()
    np.testing.assert_allclose(
        surrogate.predict_ap(codec.encode_many([arch])), same.predict_ap(GenomeCodec(shallow).encode_many([arch]))
    )


def test_what_it_stands_for_is_in_its_digest() -> None:
    surrogate = PublishedSurrogate(LITEPOSE)
    assert (
        surrogate.digest == PublishedSurrogate(LITEPOSE).digest != PublishedSurrogate(LITEPOSE, dataset="coco").digest
    )
    assert (surrogate.num_keypoints, PublishedSurrogate(LITEPOSE, dataset="coco").num_keypoints) == (14, 17)
    with pytest.raises(InputError, match=r"dataset is 'people'; it must be one of crowdpose, coco"):
        PublishedSurrogate(LITEPOSE, dataset="people")
