"""Append-only files: a cut at any byte loses at most the line being written."""

import subprocess
import sys
from pathlib import Path

import pytest

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.json_lines import append_json_line, read_json_lines, remove_torn_line, sole_user


def test_a_file_cut_at_any_byte_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for number in range(3):
        append_json_line(path, {"n": number})
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = read_json_lines(path)
        append_json_line(path, {"n": "next"})
        assert read_json_lines(path) == [*kept, {"n": "next"}]
        assert len(kept) == whole[:size].count(b"\n")


def test_a_long_torn_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for whole in (b"", b'{"n": 1}\n'):
        path.write_bytes(whole + b"x" * 200_000)
        remove_torn_line(path)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["{", "[1]", "nonsense"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"n": 1}}\n{line}\n')
    with pytest.raises(InputError, match=r"lines\.jsonl, line 2: is not a JSON object"):
        read_json_lines(path)


def test_processes_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    program = """if True:
        import pathlib, sys
        from litepose_ofa.supernet.json_lines import append_json_line
        for number in range(50):
            append_json_line(pathlib.Path(sys.argv[1]), {"worker": int(sys.argv[2]), "n": number})
    """
    workers = [subprocess.Popen([sys.executable, "-c", program, str(path), str(worker)]) for worker in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    records = read_json_lines(path)
    assert {(record["worker"], record["n"]) for record in records} == {(w, n) for w in range(2) for n in range(50)}
    assert len(records) == 100


def test_a_file_has_one_user_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    with sole_user(path), pytest.raises(InputError, match=r"study\.log: another process writes it"), sole_user(path):
        pass
    with sole_user(path):
        pass
