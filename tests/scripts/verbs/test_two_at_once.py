"""Of two processes of one verb in one place, the second says in one line that there is another."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HOLDER = """
import sys
from pathlib import Path
from litepose_ofa.supernet.files import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.communicate("go\n", timeout=60)


@pytest.mark.parametrize(
    ("script", "folder", "overrides"),
    [
        ("sample", "accuracies", ()),
        ("fit", "predictor", ()),
        ("search", "search/jetson_nano/m", ("evaluator=published", "space=litepose", "device=jetson_nano")),
        ("report", "report", ()),
        ("rank_fidelity", "rank_fidelity", ()),
        ("sensitivity", "sensitivity", ()),
        ("check_dataset", "dataset_check", ()),
        ("profile", "profiling_kits/.runs/onnxruntime", ("runtime=onnxruntime",)),
        ("estimate_tables", "tables", ("output={workspace}/tables",)),
        ("generate_people", "people/.generate_people", ("data_root={workspace}", "workers=1")),
    ],
)
def test_a_folder_that_another_process_writes_to_is_named(
    run_script: Any, tmp_path: Path, script: str, folder: str, overrides: tuple[str, ...]
) -> None:
    with held_by_another(tmp_path / folder):
        before = [path for path in tmp_path.rglob("*") if path.is_file()]
        told = run_script(script, f"workspace={tmp_path}", *(each.format(workspace=tmp_path) for each in overrides))
        line = f"error: {tmp_path / folder}: another process is writing to this folder; wait for it or end it"
        assert told.stderr.splitlines()[-1] == line
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"] == before
