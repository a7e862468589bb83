"""Files are replaced whole or not at all, and a file that cannot be read is one clear line."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import (
    load_yaml,
    locked_folder,
    naming,
    read_json,
    read_yaml,
    replacing,
    replacing_folder,
    write_text,
)


def test_replacing_writes_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("content")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def write_half_a_folder(path: Path) -> None:
    with replacing_folder(path) as temporary:
        (temporary / "file").write_text("half")
        raise KeyboardInterrupt


@pytest.mark.parametrize("before", ["old", None])
def test_a_failure_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "parent" / "folder"
    for content in ("old", "new"):
        with replacing_folder(path) as temporary:
            (temporary / content).write_text(content)
        assert [file.read_text() for file in path.iterdir()] == [content]
        assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with replacing_folder(path) as temporary:
        (temporary / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half_a_folder(path)
    assert [file.read_text() for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def run_python(source: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from litepose_ofa.supernet.files import replacing_folder
replace, calls = os.replace, itertools.count(1)
def counted(source, target):
    if next(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = counted
with replacing_folder(sys.argv[1]) as temporary:
    (temporary / "file").write_text("newer")
"""


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_is_found_again_after_a_kill_before_either_rename(tmp_path: Path, number: int) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_text("old")
    with run_python(KILLED, str(path), str(number)) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 3

    with pytest.raises(KeyboardInterrupt):
        write_half_a_folder(path)
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_replacement_is_on_the_disk_before_and_after_its_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def note_replace(source: Path, target: Path) -> None:
        calls.append(f"{source.name} -> {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    with replacing(tmp_path / "file.txt", durable=durable) as temporary:
        temporary.write_text("content")
    renamed = f"{temporary.name} -> file.txt"
    assert calls == ([f"fsync {temporary.name}", renamed, f"fsync {tmp_path.name}"] if durable else [renamed])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["content"]


@pytest.mark.parametrize("name", [255 * "n", 85 * "\N{SNOWMAN}"])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    for content in ("old", "new"):
        write_text(tmp_path / name, content)
        with replacing_folder(tmp_path / "parent" / name) as temporary:
            (temporary / name).write_text(content)
        assert (tmp_path / name).read_text() == content
        assert (tmp_path / "parent" / name / name).read_text() == content


LIMITED = """
import resource, sys
from litepose_ofa.supernet.files import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(sys.argv[1], 100000 * "new")
except OSError as error:
    print(f"{error.filename}: {error.strerror}")
"""


def test_a_disk_that_takes_no_more_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    process = run_python(LIMITED, str(path))
    assert process.communicate(timeout=60)[0] == f"{path}: File too large\n"
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, "target"), ("other.txt", "other.txt"), ("temporary", "target"), ("temporary/a/b.txt", "target/a/b.txt")],
)
def test_a_failed_write_names_a_file(named: str | None, expected: str) -> None:
    with (
        pytest.raises(OSError, match="No space left") as caught,
        naming(Path("target"), instead_of=Path("temporary")),
    ):
        raise OSError(errno.ENOSPC, "No space left", named)
    assert caught.value.filename == expected


WRITER = """
import sys
from litepose_ofa.supernet.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("other")
    temporary.with_name(temporary.name + ".part").write_text("other")
    print(temporary.name, flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_process_left_is_removed_and_what_another_is_writing_is_not(tmp_path: Path) -> None:
    kept = [".a.tmp", ".litepose-a", "a.litepose-.tmp"]
    for name in kept:
        (tmp_path / name).touch()
    with run_python(WRITER, str(tmp_path / "killed")) as killed, run_python(WRITER, str(tmp_path / "alive")) as alive:
        names = [process.stdout.readline().strip() for process in (killed, alive) if process.stdout]
        killed.kill()
        killed.wait(timeout=60)
        assert {*names, f"{names[0]}.part"} < {path.name for path in tmp_path.iterdir()}
        write_text(tmp_path / "file.txt", "content")
        found = {path.name for path in tmp_path.iterdir()}
        alive.communicate("go\n", timeout=60)
    assert found == {*kept, names[1], f"{names[1]}.part", "file.txt"}
    assert (tmp_path / "alive").read_text() == "other"


HOLDER = """
import sys
from pathlib import Path
from litepose_ofa.supernet.files import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
print("let go", flush=True)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_has_one_writer_until_its_process_ends(tmp_path: Path, killed: bool) -> None:
    folder = tmp_path / "run"
    with run_python(HOLDER, str(folder)) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match="run: another process is writing to this folder; wait for it or end it"),
            locked_folder(folder),
        ):
            pytest.fail("the folder is held")
        if killed:
            other.kill()
            other.wait(timeout=60)
        else:
            other.stdin.write("go\n")
            other.stdin.flush()
            assert other.stdout.readline() == "let go\n"
        with locked_folder(folder):
            assert folder.is_dir()


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


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: no such file"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        read_yaml(tmp_path)


def test_yaml_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "code.yaml"
    path.write_text(f"!!python/object/apply:os.mkdir ['{marker}']")
    with pytest.raises(InputError, match="is not YAML"):
        read_yaml(path)
    assert not marker.exists()


HONEST = "a: &x [1, {b: null}]\nc: *x\nd: {e: *x, f: 1.5, g: 'yes'}\n"


@pytest.mark.parametrize("text", ["", "3", "[]", HONEST, "&a [1, 2]", "- 1\n- - 2\n"])
def test_a_document_is_what_yaml_says(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


def test_aliases_that_multiply_are_refused() -> None:
    lists = ["&a [x, x, x, x, x, x, x, x, x]"]
    lists += [f"&{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(8)]
    with pytest.raises(yaml.YAMLError, match="its aliases make more than 1,000,000 values of it"):
        load_yaml(f"device: [{', '.join(lists)}]")


def test_what_contains_itself_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="its aliases make more than"):
        load_yaml("&a [*a]")
