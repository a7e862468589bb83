"""A pipe where a file is read is named at once: opening it would wait for a writer that never comes."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables.rows import read_rows as read_latencies
from litepose_ofa.search.accuracy.evaluators import AccuracyCache
from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.reporting.page.training_section import read_metrics
from litepose_ofa.search.reporting.searches import read_table
from litepose_ofa.search.study.results import read_rows
from litepose_ofa.search.study.storages import open_storage
from litepose_ofa.search.tuning.trials import RungRecord
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.bundle import sha256_of
from litepose_ofa.supernet.files import locked_folder, read_json, read_yaml
from litepose_ofa.supernet.json_lines import append_json_line, read_json_lines
from litepose_ofa.supernet.network.checkpoints import read_weights
from litepose_ofa.supernet.torch_files import read_torch_file
from litepose_ofa.supernet.training.metrics import metrics_log


def enter(manager: Any) -> None:
    with manager:
        pass


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "JSON": ("a.json", read_json),
    "YAML": ("a.yaml", read_yaml),
    "JSON lines": ("a.jsonl", read_json_lines),
    "appended lines": ("a.jsonl", lambda path: append_json_line(path, {})),
    "accuracies": ("a.jsonl", AccuracyCache),
    "rungs": ("rungs.jsonl", lambda path: RungRecord(path.parent)),
    "journal": ("study.log", lambda path: enter(open_storage(path, "search"))),
    "front": ("front.csv", read_rows),
    "table of a report": ("front.csv", lambda path: read_table(path, ())),
    "metrics of a report": ("metrics.jsonl", read_metrics),
    "metrics of a training": ("metrics.jsonl", lambda path: enter(metrics_log(path.parent, first_step=0))),
    "latencies": ("t.csv", read_latencies),
    "predictor": ("p.safetensors", AccuracyPredictor.load),
    "weights": ("w.safetensors", read_weights),
    "checkpoint": ("c.pt", read_torch_file),
    "file of an export": ("model.onnx", sha256_of),
    "lock": (".lock", lambda path: enter(locked_folder(path.parent))),
}


@pytest.fixture
def _at_most_ten_seconds() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("waited for a writer")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_at_most_ten_seconds")
@pytest.mark.parametrize("kind", READERS)
def test_a_pipe_is_named(tmp_path: Path, kind: str) -> None:
    name, read = READERS[kind]
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: is a pipe, a socket or a device; it must be a regular file"):
        read(tmp_path / name)
