"""Search spaces as plain values: read back equal, or refused in one line that names the field."""

import re
from typing import Any

import pytest

from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.errors import InputError


@pytest.mark.parametrize("name", PRESETS)
def test_dict_round_trip(name: str) -> None:
    space = SearchSpace.preset(name)
    again = SearchSpace.from_dict(space.to_dict())
    assert again == space
    assert hash(again) == hash(space)


def test_unknown_presets_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown space 'huge'; known: litepose, litepose_released, tiny"):
        SearchSpace.preset("huge")


def changed(path: tuple[str | int, ...], new: object) -> dict[str, Any]:
    value = SearchSpace.preset("tiny").to_dict()
    item: Any = value
    for key in path[:-1]:
        item = item[key]
    item[path[-1]] = new
    return value


LISTS: dict[tuple[str | int, ...], str] = {
    ("image_sizes",): "image_sizes",
    ("stem_channels",): "stem_channels",
    ("deconv_channels", 2): "deconv_channels[2]",
    **{("stages", 3, key): f"stages[3].{key}" for key in ("channels", "depths", "kernels", "expansions")},
}


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "value", [[], [16.0], ["16"], [True], [None], [[16]], "16", 16, None, {"16": 1}, [32, 16], [16, 16]]
)
def test_a_bad_list_of_choices_is_named(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(InputError) as caught:
        SearchSpace.from_dict(changed(path, value))
    assert f"{LISTS[path]} is " in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("image_sizes",), [32, 40, 64], "img_size is 40; it must be a multiple of 16"),
        (("image_sizes",), [0, 32], "img_size is 0"),
        (("stem_channels",), [-8, 8], "input_channel is -8"),
        (("stages", 0, "channels"), [0, 8], r"backbone_setting\[0\]\.channel is 0"),
        (
            ("stages", 0, "kernels"),
            [3, 4, 5],
            r"backbone_setting\[0\]\.block_setting\[0\] kernel is 4; it must be an odd",
        ),
        (("stages", 1, "kernels"), [-1, 3], r"backbone_setting\[1\]\.block_setting\[0\] kernel is -1"),
        (("stages", 2, "depths"), [0, 1], r"backbone_setting\[2\]\.num_blocks is 0"),
        (("stages", 2, "depths"), [1, 10**9], r"stages\[2\]\.depths has 1000000000; at most 64"),
        (("image_sizes",), [32, 16 * 10**8], "img_size is 1600000000; it must be a positive integer of at most 4096"),
        (("stages", 3, "expansions"), [0, 6], r"backbone_setting\[3\]\.block_setting\[0\] expansion is 0"),
        (("deconv_channels", 1), [0, 8], r"deconv_setting\[1\] is 0"),
        (("stages",), [], "4 stages and 3 deconv_channels"),
        (("deconv_channels",), [[8], [8]], "4 stages and 3 deconv_channels"),
        (("stages",), 4, "stages is 4"),
        (("deconv_channels",), None, "deconv_channels is None"),
        (("name",), 4, "name is 4"),
    ],
)
def test_an_impossible_choice_is_named_wherever_it_stands(
    path: tuple[str | int, ...], value: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SearchSpace.from_dict(changed(path, value))


@pytest.mark.parametrize("value", [None, 3, [], "litepose"])
def test_what_is_no_mapping_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"space is .*it must be an object with the keys name, image_sizes"):
        SearchSpace.from_dict(value)


def test_unknown_and_missing_keys_are_refused() -> None:
    value: dict[Any, Any] = SearchSpace.preset("tiny").to_dict()
    for key in list(value):
        with pytest.raises(InputError, match=f"space lacks the key '{key}'"):
            SearchSpace.from_dict({k: v for k, v in value.items() if k != key})
    for extra in ("size", 7):
        with pytest.raises(InputError, match=f"space has the unknown key {extra!r}; the keys are name, image_sizes"):
            SearchSpace.from_dict(value | {extra: 1})
    stage = value["stages"][1]
    for changed_stage, message in (
        ({"channels": [8]}, "lacks the key 'depths'"),
        ({**stage, "strides": [2]}, "has the unknown key 'strides'; the keys are channels, depths"),
        ([8], "is [8]; it must be an object with the keys channels, depths"),
    ):
        with pytest.raises(InputError, match=re.escape(f"space: stages[1] {message}")):
            SearchSpace.from_dict(changed(("stages", 1), changed_stage))
