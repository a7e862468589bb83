"""An architecture is a value: it round-trips, compares and hashes, and refuses what it does not know by name."""

import copy
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.archs.arch import STAGE_STRIDES, Arch, BlockArch, StageArch
from litepose_ofa.supernet.errors import InputError

NAMES = ("search-XS", "search-S", "search-M", "search-L", "prune-S", "prune-M", "prune-L")

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
def published(published_dicts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return copy.deepcopy(published_dicts["search-XS"])


@pytest.mark.parametrize("name", NAMES)
def test_published_files_round_trip(name: str, published_dicts: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    published = published_dicts[name]
    assert Arch.from_dict(published).to_dict() == published
    given_path = tmp_path / "given.json"
    given_path.write_text(json.dumps(published))
    arch = Arch.load(given_path)
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
INTEGER_FIELDS: dict[Path_, str] = {
    ("img_size",): "img_size",
    ("input_channel",): "input_channel",
    ("deconv_setting", 1): "deconv_setting[1]",
    (*STAGE, "num_blocks"): "backbone_setting[2].num_blocks",
    (*STAGE, "stride"): "backbone_setting[2].stride",
    (*STAGE, "channel"): "backbone_setting[2].channel",
    (*STAGE, "block_setting", 3, 0): "backbone_setting[2].block_setting[3] expansion",
    (*STAGE, "block_setting", 3, 1): "backbone_setting[2].block_setting[3] kernel",
}


@pytest.mark.parametrize("path", INTEGER_FIELDS)
@pytest.mark.parametrize("value", [True, False, 16.0, "16", None, [16], {"a": 1}, 0, -16, float("nan")])
def test_a_field_that_is_no_positive_integer_is_named(path: Path_, value: object, published: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Arch.from_dict(replaced(published, path, value))
    message = str(caught.value)
    assert message.startswith(f"{INTEGER_FIELDS[path]} is {value!r}; it must be ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("path", "value", "most"),
    [
        (("img_size",), 16 * 10**8, 4096),
        (("input_channel",), 10**9, 16384),
        (("deconv_setting", 1), 16385, 16384),
        ((*STAGE, "channel"), 16385, 16384),
        ((*STAGE, "block_setting", 0, 0), 33, 32),
        ((*STAGE, "block_setting", 0, 1), 1000001, 31),
    ],
)
def test_no_size_is_without_a_bound(path: Path_, value: int, most: int, published: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"is {value}; it must be a positive integer of at most {most}$"):
        Arch.from_dict(replaced(published, path, value))


@pytest.mark.parametrize(
    "path",
    [
        ("deconv_setting",),
        ("backbone_setting",),
        STAGE,
        (*STAGE, "block_setting"),
        (*STAGE, "block_setting", 3),
    ],
)
@pytest.mark.parametrize("value", [None, 3, "abc", b"abc", True])
def test_a_container_of_the_wrong_type_is_named(path: Path_, value: object, published: dict[str, Any]) -> None:
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
    with pytest.raises(InputError) as caught:
        Arch.from_dict(replaced(published, path, value))
    assert str(caught.value).startswith(f"{where} is {value!r}; it must be ")


@pytest.mark.parametrize("value", [None, 3, "abc", [], ["img_size"]])
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"architecture is .*; it must be an object with the keys img_size"):
        Arch.from_dict(value)


@pytest.mark.parametrize(
    ("path", "where"), [((), "architecture"), (STAGE, "backbone_setting[2]")], ids=["architecture", "stage"]
)
def test_every_missing_or_unknown_key_is_named(path: Path_, where: str, published: dict[str, Any]) -> None:
    item = published
    for step in path:
        item = item[step]  # type: ignore[index]
    for key in list(item):
        less = copy.deepcopy(published) if not path else replaced(published, path, {**item})
        target = less
        for step in path:
            target = target[step]
        del target[key]
        with pytest.raises(InputError) as caught:
            Arch.from_dict(less)
        assert str(caught.value) == f"{where} lacks the key {key!r}"
    for extra in ("depth", "", 7, None):
        more = {**published, extra: 1} if not path else replaced(published, path, {**item, extra: 1})
        with pytest.raises(InputError) as caught:
            Arch.from_dict(more)
        assert str(caught.value).startswith(f"{where} has the unknown key {extra!r}; the keys are ")


def test_files_that_hold_no_architecture_are_named(tmp_path: Path, published: dict[str, Any]) -> None:
    cases = {
        "absent.json": (None, r"absent\.json: no such file"),
        "arch.txt": ("{}", r"arch\.txt: an architecture file ends in \.json, \.yaml or \.yml"),
        "broken.json": ('{"img_size": 256', r"broken\.json: is not JSON"),
        "broken.yaml": ("a: [", r"broken\.yaml: is not YAML"),
        "empty.yaml": ("", r"empty\.yaml: architecture is None; it must be an object"),
        "list.json": ("[1]", r"list\.json: architecture is \[1\]; it must be an object"),
        "extra.json": (json.dumps({**published, "depth": 1}), r"extra\.json: architecture has the unknown key 'depth'"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=message) as caught:
            Arch.load(path)
        assert "\n" not in str(caught.value)
