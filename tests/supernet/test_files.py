"""Files are replaced whole or not at all, and a file that cannot be read is one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.errors import InputError
from supernet.files import read_json, read_yaml, replacing, replacing_folder, write_json, write_text

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_replacing_writes_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("content")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("before", ["old", None])
def test_a_failure_keeps_the_old_content_and_leaves_nothing_behind(
    tmp_path: Path, before: str | None, error: type[BaseException]
) -> None:
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_failure_before_anything_is_written_is_the_callers_own(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), replacing(tmp_path / "file.txt"):
        raise RuntimeError("mine")
    assert not list(tmp_path.iterdir())


def test_a_reader_sees_the_old_content_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_text(tmp_path / "taken", "content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "folder"
    for content in ("old", "new"):
        with replacing_folder(path) as temporary:
            (temporary / content).write_text(content)
        assert [file.read_text() for file in path.iterdir()] == [content]
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_folder(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    with replacing_folder(path) as temporary:
        (temporary / "old").write_text("old")

    def write_half() -> None:
        with replacing_folder(path) as temporary:
            (temporary / "old").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [file.read_text() for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_found_again_after_a_kill_between_the_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    with replacing_folder(path) as temporary:
        (temporary / "file").write_text("old")
    path.rename(tmp_path / ".folder.before")

    def write_half() -> None:
        with replacing_folder(path) as temporary:
            (temporary / "file").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@given(value=JSON_VALUES)
@settings(deadline=None, derandomize=True, max_examples=50)
def test_json_round_trip(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize(("read", "language"), [(read_json, "JSON"), (read_yaml, "YAML")])
@pytest.mark.parametrize("content", [b"{", b'{"a": [1,\n\n "b": }', b"\xff\xfe\x00"])
def test_broken_content_is_one_line_naming_file_and_language(
    tmp_path: Path, read: Callable[[Path], Any], language: str, content: bytes
) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"broken: is not {language} \(") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_missing_files_and_folders_are_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(InputError, match=r"absent\.json: no such file"):
        read(tmp_path / "absent.json")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)


def test_yaml_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "code.yaml"
    path.write_text(f"!!python/object/apply:os.mkdir ['{marker}']")
    with pytest.raises(InputError, match="is not YAML"):
        read_yaml(path)
    assert not marker.exists()
