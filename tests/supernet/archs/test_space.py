"""Search spaces: what they hold, how many, and that whatever they draw is inside and can be anything inside."""

import hashlib
import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.published import FULL_DEPTHS
from litepose_ofa.supernet.archs.space import DIMENSIONS, PRESETS, Dimension, SearchSpace, StageSpace
from litepose_ofa.supernet.errors import InputError

SMALL = SearchSpace(
    name="small",
    image_sizes=(32, 64),
    stem_channels=(8,),
    stages=(
        StageSpace((8, 16), (1, 2), (3, 5), (2,)),
        StageSpace((8,), (1,), (3,), (2, 4)),
        StageSpace((8,), (1,), (3,), (2,)),
        StageSpace((8, 24), (1, 2), (7,), (2, 3)),
    ),
    deconv_channels=((8,), (8, 16), (8,)),
)


class Constant:
    """A random source that always draws the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def every_architecture(space: SearchSpace) -> set[Arch]:
    """Write out a space, choice by choice."""
    stages = []
    for choices, stride in zip(space.stages, STAGE_STRIDES, strict=True):
        blocks = [BlockArch(e, k) for e in choices.expansions for k in choices.kernels]
        stages.append(
            [
                StageArch(width, stride, combination)
                for width in choices.channels
                for depth in choices.depths
                for combination in itertools.product(blocks, repeat=depth)
            ]
        )
    return {
        Arch(size, stem, four, deconvs)
        for size in space.image_sizes
        for stem in space.stem_channels
        for four in itertools.product(*stages)
        for deconvs in itertools.product(*space.deconv_channels)
    }


@pytest.fixture(params=PRESETS)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SearchSpace.preset(request.param)


def test_size_and_contains_against_brute_force() -> None:
    everything = every_architecture(SMALL)
    assert SMALL.size == len(everything) == 2 * 2 * (2 + 4) * 2 * 2 * (2 + 4) * 2
    assert all(SMALL.contains(arch) for arch in everything)
    rng = random.Random(0)
    assert {SMALL.sample(rng) for _ in range(20_000)} == everything


def test_published_architectures_are_in_both_litepose_spaces(published_archs: dict[str, Arch]) -> None:
    for arch in published_archs.values():
        assert SearchSpace.preset("litepose").contains(arch)
        assert SearchSpace.preset("litepose_released").contains(arch)
        assert not SearchSpace.preset("tiny").contains(arch)


def test_smallest_and_largest(published_archs: dict[str, Arch]) -> None:
    released = SearchSpace.preset("litepose_released")
    assert released.largest() == published_archs["prune-L"]
    small = SMALL.smallest()
    assert small == Arch(
        image_size=32,
        stem_channels=8,
        stages=tuple(
            StageArch(8, stride, (BlockArch(2, k),)) for stride, k in zip((2, 2, 2, 1), (3, 3, 3, 7), strict=True)
        ),
        deconv_channels=(8, 8, 8),
    )


dimension_sets = st.sets(st.sampled_from(DIMENSIONS))
preset_spaces = st.sampled_from(list(PRESETS.values()))


def choices_by_dimension(space: SearchSpace) -> dict[Dimension, list[tuple[int, ...]]]:
    stages = space.stages
    return {
        "resolution": [space.image_sizes],
        "kernel": [stage.kernels for stage in stages],
        "depth": [stage.depths for stage in stages],
        "expansion": [stage.expansions for stage in stages],
        "width": [space.stem_channels, *(stage.channels for stage in stages), *space.deconv_channels],
    }


@given(space=preset_spaces, elastic=dimension_sets)
@settings(deadline=None, derandomize=True)
def test_a_restricted_space_cuts_the_other_dimensions_to_their_largest_choice(
    space: SearchSpace, elastic: set[Dimension]
) -> None:
    full, cut = choices_by_dimension(space), choices_by_dimension(space.restricted(elastic))
    for dimension in DIMENSIONS:
        wanted = full[dimension] if dimension in elastic else [choices[-1:] for choices in full[dimension]]
        assert cut[dimension] == wanted
    assert space.restricted(elastic).name == space.name


def test_sample_uses_the_whole_unit_interval(space: SearchSpace) -> None:
    assert space.sample(Constant(0.0)) == space.smallest()
    assert space.sample(Constant(math.nextafter(1.0, 0.0))) == space.largest()
    assert space.contains(space.smallest())
    assert space.contains(space.largest())


DRAWN_BY_SEED_0 = {
    "litepose": "351e254a8311",
    "litepose_released": "cb659f6cb4ad",
    "small": "cb44adfd3371",
    "tiny": "1da6b2fb8fff",
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_seed_draws_what_it_always_drew(name: str) -> None:
    """Recorded trainings name their subnets by seed and step, so neither the draws nor the digests may change."""
    space, rng = SearchSpace.preset(name), random.Random(0)
    digests = " ".join(space.sample(rng).digest for _ in range(200))
    assert hashlib.sha256(digests.encode()).hexdigest()[:12] == DRAWN_BY_SEED_0[name]


@given(seed=st.integers(0, 2**32 - 1), preset=st.sampled_from(sorted(PRESETS)))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_assembling_what_an_architecture_chose_gives_it_again(seed: int, preset: str) -> None:
    space = SearchSpace.preset(preset)
    arch, asked = space.sample(random.Random(seed)), []

    def pick(choice: str, values: tuple[int, ...]) -> int:
        asked.append(choice)
        assert values == space.choices[choice]
        return arch.chosen[choice]

    assert space.assemble(pick) == arch
    assert len(asked) == len({*asked})
    assert {name for name in arch.chosen if len(space.choices[name]) > 1} <= {*asked} <= arch.chosen.keys()


def test_every_block_and_depth_is_sampled() -> None:
    """Defect of the public sampler: depths 4, 6, 8, 8 of nets with 6, 8, 10, 10 blocks left a fifth untrained."""
    assert tuple(stage.depths[-1] for stage in SearchSpace.preset("litepose").stages) == FULL_DEPTHS == (6, 8, 10, 10)
    for name in PRESETS:
        space, rng = SearchSpace.preset(name), random.Random(1)
        archs = [space.sample(rng) for _ in range(700)]
        for s, choices in enumerate(space.stages):
            drawn = [arch.stages[s].blocks for arch in archs]
            assert {len(blocks) for blocks in drawn} == set(choices.depths)
            pairs = set(itertools.starmap(BlockArch, itertools.product(choices.expansions, choices.kernels)))
            for b in range(choices.depths[-1]):
                assert {blocks[b] for blocks in drawn if b < len(blocks)} == pairs, (name, s, b)


def test_every_choice_is_as_likely() -> None:
    space, rng, draws = SearchSpace.preset("litepose"), np.random.default_rng(0), 4000
    archs = [space.sample(rng) for _ in range(draws)]
    features = {
        5: [arch.image_size for arch in archs],
        3: [arch.stages[0].blocks[1].kernel for arch in archs],
        4: [len(arch.stages[3].blocks) for arch in archs],
    }
    for count, values in features.items():
        _, counts = np.unique(values, return_counts=True)
        deviation = math.sqrt(draws * (1 / count) * (1 - 1 / count))
        assert len(counts) == count
        assert np.abs(counts - draws / count).max() < 4 * deviation


def test_a_space_comes_back_from_its_dict_and_unknown_names_are_refused() -> None:
    for space in PRESETS.values():
        assert SearchSpace.from_dict(space.to_dict()) == space
    with pytest.raises(InputError, match="unknown space 'huge'; known: litepose, litepose_released, small, tiny"):
        SearchSpace.preset("huge")
    with pytest.raises(InputError, match="unknown dimension 'channels'; known: resolution, kernel, depth, expansion"):
        SMALL.restricted(["kernel", "channels"])  # type: ignore[list-item]


def with_value(path: tuple[str | int, ...], new: object) -> dict[str, Any]:
    value = SearchSpace.preset("tiny").to_dict()
    item: Any = value
    for key in path[:-1]:
        item = item[key]
    item[path[-1]] = new
    return value


@pytest.mark.parametrize("value", [[], [16.0], [True], "16", None, {"16": 1}, [32, 16], [16, 16]])
def test_a_bad_list_of_choices_is_named(value: object) -> None:
    for path, named in ((("image_sizes",), "image_sizes"), (("stages", 3, "depths"), r"stages\[3\].depths")):
        with pytest.raises(InputError, match=rf"space: {named} is .*; it must be a list .* that ascend"):
            SearchSpace.from_dict(with_value(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("image_sizes",), [32, 40, 64], "architecture: img_size is 40; it must be a multiple of 16"),
        (
            ("stages", 1, "kernels"),
            [3, 4, 5],
            r"architecture: backbone_setting\[1\]: block_setting\[0\]: the kernel is 4",
        ),
        (("stages", 2, "depths"), [1, 10**9], r"stages\[2\]\.depths is .*; it must be a list of integers from 1 to 64"),
        (("deconv_channels", 1), [0, 8], "architecture: deconv_setting is .*, 0, "),
        (("stages",), [], "stages is .*; it must be a list of 4 mappings with the keys channels, depths, kernels"),
        (("deconv_channels",), [[8], [8]], "deconv_channels is .*; it must be a list of 3"),
        (("size",), 4, "unknown key size; the keys are name, image_sizes"),
        (("stages", 1), {"channels": [8]}, r"stages\[1\]\.depths is missing"),
    ],
)
def test_an_impossible_choice_is_named_wherever_it_stands(
    path: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(InputError, match=f"^space: {message}"):
        SearchSpace.from_dict(with_value(path, value))
