import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litepose_ofa.supernet.data.coco import json_stream
from litepose_ofa.supernet.data.coco.json_stream import UnreadableJsonError, stream_json
from litepose_ofa.supernet.errors import InputError

NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False), st.sampled_from([float("inf"), -float("inf")]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


@pytest.fixture(autouse=True)
def no_change_of_chunks_stays() -> Iterator[None]:
    before = json_stream.CHUNK, json_stream.MAX_ENTRY
    yield
    json_stream.CHUNK, json_stream.MAX_ENTRY = before


def whole(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, position, value in stream_json(path):
        if position is None:
            content[key] = value
        else:
            assert position == len(content[key])
            content[key].append(value)
    return content


@FAST
@given(document=DOCUMENTS, chunk=st.integers(1, 60), ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_the_entries_are_those_of_the_whole_file(
    path: Path, document: dict[str, Any], chunk: int, ascii_only: bool, indent: int | None
) -> None:
    json_stream.CHUNK = chunk
    path.write_text(json.dumps(document, ensure_ascii=ascii_only, indent=indent), encoding="utf-8")
    assert whole(path) == document


@FAST
@given(document=DOCUMENTS, chunk=st.integers(1, 60), data=st.data())
def test_a_damaged_file_is_refused_where_the_whole_file_would_be(
    path: Path, document: dict[str, Any], chunk: int, data: st.DataObject
) -> None:
    json_stream.CHUNK = chunk
    text = json.dumps(document)
    cut = data.draw(st.integers(0, len(text)))
    text = text[:cut] + data.draw(st.sampled_from(["", "x", '"', "]", "}", "{", "[", ",", ":", "1", "\\"]))
    text += data.draw(st.sampled_from(["", json.dumps(document)[cut:], json.dumps(document)[cut + 1 :]]))
    path.write_text(text, encoding="utf-8")
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    refusal = None
    try:
        found = whole(path)
    except InputError as error:
        refusal = str(error)
    if refusal is None:
        assert found == expected
    else:
        assert "\n" not in refusal
        assert not isinstance(expected, dict) or "twice" in refusal


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is not an object"),
        (b"[1]", "the file is not an object"),
        (b'{"a": 1, "a": 2}', "has the key 'a' twice"),
        (b'{"a": 1} 2', r"the object is over at character 9"),
        (b'{"a": ' + b"[" * 100_000, "is not JSON"),
        (b'{"a": ' + b'{"b":' * 100_000, "is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"a": "\xff"}', "byte 0xff is not UTF-8"),
        (b"{1: 2}", "a key is expected at character 1"),
        (b'{"a": [1 2]}', "',' is expected at character 9"),
        (b'{"a": [1, 2', "',' is expected"),
    ],
)
def test_what_is_wrong_is_named(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        whole(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        whole(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot be read"):
        whole(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_its_end(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(UnreadableJsonError, match=r"file\.json: is a pipe, a socket or a device"):
        list(stream_json(path))


def test_a_byte_order_mark_is_no_content(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + '{"images": [{"file_name": "größe"}]}'.encode())
    assert list(stream_json(path)) == [("images", None, []), ("images", 0, {"file_name": "größe"})]
    path.write_text("{}", encoding="utf-16")
    with pytest.raises(InputError, match=r"is not UTF-8.*; save it as UTF-8"):
        list(stream_json(path))


def test_a_window_stays_small_and_an_endless_entry_is_refused(path: Path) -> None:
    json_stream.CHUNK, json_stream.MAX_ENTRY = 100, 1000
    path.write_text(json.dumps({"images": [{"id": number} for number in range(2000)]}))
    with path.open() as file:
        scanner = json_stream._Scanner(path, file)
        windows = [len(scanner._window) for _ in scanner.items()]
    assert len(windows) == 2001
    assert max(windows) <= 300
    path.write_text('{"images": ["' + "a" * 100_000)
    with pytest.raises(InputError, match="an entry has more than 1000 characters"):
        whole(path)
