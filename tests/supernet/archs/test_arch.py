"""An architecture is a value: it round-trips, compares and hashes, and refuses what it does not know by name."""

import copy
import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.errors import InputError

blocks = st.builds(BlockArch, expansion=st.integers(1, 8), kernel=st.sampled_from((1, 3, 5, 7, 9)))
archs = st.builds(
    Arch,
    image_size=st.integers(1, 64).map(lambda n: 16 * n),
    stem_channels=st.integers(1, 200),
    stages=st.tuples(
        *(
            st.builds(
                StageArch,
                channels=st.integers(1, 300),
                stride=st.just(stride),
                blocks=st.lists(blocks, min_size=1, max_size=4).map(tuple),
            )
            for stride in STAGE_STRIDES
        )
    ),
    deconv_channels=st.tuples(*(st.integers(1, 99) for _ in range(3))),
)

Path_ = tuple[str | int, ...]


def replaced(value: Any, path: Path_, new: object) -> Any:
    """Return a deep copy of nested lists and dicts with the item at ``path`` replaced."""
    changed = copy.deepcopy(value)
    item = changed
    for key in path[:-1]:
        item = item[key]
    item[path[-1]] = new
    return changed


@pytest.fixture
def published(published_archs: dict[str, Arch]) -> dict[str, Any]:
    return published_archs["search-XS"].to_dict()


def test_the_published_form(published: dict[str, Any], tmp_path: Path) -> None:
    assert (published["img_size"], published["input_channel"]) == (256, 16)
    assert published["deconv_setting"] == [16, 24, 24]
    stage = {"num_blocks": 6, "stride": 2, "channel": 16, "block_setting": [[6, 7]] * 6}
    assert published["backbone_setting"][0] == stage
    arch = Arch.from_dict(published)
    for suffix in (".json", ".yaml", ".yml"):
        path = tmp_path / f"written{suffix}"
        arch.save(path)
        assert Arch.load(str(path)) == arch
        assert yaml.safe_load(path.read_text()) == published  # JSON is YAML


@given(arch=archs)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_round_trips(arch: Arch, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert Arch.from_dict(arch.to_dict()) == arch
    assert Arch.from_dict(json.loads(json.dumps(arch.to_dict()))) == arch
    path = tmp_path_factory.getbasetemp() / "arch.yaml"
    arch.save(path)
    assert Arch.load(path) == arch
    again = pickle.loads(pickle.dumps(arch))
    assert again == arch
    assert hash(again) == hash(arch)
    assert again.digest == arch.digest


def test_the_digest_is_a_name_that_lasts(published: dict[str, Any]) -> None:
    canonical = json.dumps(published, sort_keys=True, separators=(",", ":")).encode()
    arch = Arch.from_dict(published)
    assert arch.digest == hashlib.sha256(canonical).hexdigest()[:12] == "31312a0e44e1"
    shuffled = {key: published[key] for key in reversed(published)}
    assert Arch.from_dict(shuffled).digest == arch.digest


STAGE = ("backbone_setting", 2)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("img_size",), 40, "img_size is 40; it must be a multiple of 16 of at most 4096"),
        (("img_size",), 16 * 10**8, "img_size is 1600000000"),
        (("img_size",), True, "img_size is True"),
        (("input_channel",), 0, "input_channel is 0; it must be an integer from 1 to 16384"),
        (("input_channel",), 16.0, "input_channel is 16.0"),
        (("deconv_setting", 1), 16385, "deconv_setting is [16, 16385, 24]; it must be a list of three widths"),
        (("deconv_setting",), [8, 8], "deconv_setting is [8, 8]"),
        (("backbone_setting",), 3, "backbone_setting is 3; it must be a list of 4 stages"),
        (STAGE, None, "backbone_setting[2] is null; it must be a mapping with the keys num_blocks, stride"),
        ((*STAGE, "num_blocks"), 5, "backbone_setting[2]: num_blocks is 5; it must be 10"),
        ((*STAGE, "stride"), 1, "the strides of the stages is (2, 2, 1, 1); it must be (2, 2, 2, 1)"),
        ((*STAGE, "channel"), None, "backbone_setting[2].channel is null; it must be an integer from 1 to 16384"),
        ((*STAGE, "block_setting"), [], "backbone_setting[2].block_setting is []; it must be a list of 1 to 64 pairs"),
        ((*STAGE, "block_setting", 3), [6], "backbone_setting[2].block_setting is "),
        ((*STAGE, "block_setting", 3, 0), 33, "backbone_setting[2].block_setting is "),
        ((*STAGE, "block_setting", 3, 1), "7", "backbone_setting[2].block_setting is "),
        (
            (*STAGE, "block_setting", 3, 1),
            4,
            "backbone_setting[2]: block_setting[3]: the kernel is 4; it must be an odd",
        ),
        (("depth",), 1, "unknown key depth; the keys are img_size, input_channel"),
        ((*STAGE, "depth"), 1, "unknown key backbone_setting[2].depth; the keys are num_blocks, stride"),
    ],
)
def test_an_impossible_value_is_named(path: Path_, value: object, message: str, published: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=re.escape(f"architecture: {message}")) as caught:
        Arch.from_dict(replaced(published, path, value))
    assert "\n" not in str(caught.value)


def test_a_missing_key_and_what_is_not_a_mapping_are_named(published: dict[str, Any]) -> None:
    for key in published:
        with pytest.raises(InputError, match=f"architecture: {key} is missing"):
            Arch.from_dict({name: value for name, value in published.items() if name != key})
    with pytest.raises(InputError, match="it is null; it must be a mapping with the keys img_size"):
        Arch.from_dict(None)  # type: ignore[arg-type]


def test_another_input_size_must_fit_too(published: dict[str, Any]) -> None:
    arch = Arch.from_dict(published)
    assert arch.with_image_size(96) == Arch.from_dict({**published, "img_size": 96})
    with pytest.raises(InputError, match="img_size is 100; it must be a multiple of 16"):
        arch.with_image_size(100)


def test_files_that_hold_no_architecture_are_named(tmp_path: Path, published: dict[str, Any]) -> None:
    cases = {
        "absent.json": (None, r"absent\.json: no such file"),
        "arch.txt": ("{}", r"arch\.txt: an architecture file ends in \.json, \.yaml or \.yml"),
        "broken.json": ('{"img_size": 256', r"broken\.json: is not JSON"),
        "broken.yaml": ("a: [", r"broken\.yaml: is not YAML"),
        "empty.yaml": ("", r"empty\.yaml: architecture: it is null; it must be a mapping"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=message) as caught:
            Arch.load(path)
        assert "\n" not in str(caught.value)
