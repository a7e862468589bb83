"""The doctor: what each check says of what is right, absent and wrong; never a traceback, whatever is broken."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import table as latency_table
from litepose_ofa.scripts.diagnosis import data, installation, runtimes
from litepose_ofa.scripts.diagnosis.data import check_datasets, check_tables, check_workspace
from litepose_ofa.scripts.diagnosis.findings import Finding, findings_of
from litepose_ofa.scripts.diagnosis.installation import (
    check_packages,
    check_python,
    check_shared_memory,
    check_threads,
)
from litepose_ofa.scripts.diagnosis.runtimes import (
    check_litert,
    check_programs,
    check_torch,
    status_and_words,
)
from litepose_ofa.scripts.verbs import doctor

ROOT = Path(__file__).parents[3]


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_a_check_that_fails_is_a_finding_with_what_came_before() -> None:
    def fail() -> Iterator[Finding]:
        yield Finding("first", "ok", "fine")
        raise ZeroDivisionError("line\nbreak")

    first, second = findings_of("thing", fail)
    assert first.status == "ok"
    assert (second.subject, second.status, second.text) == ("thing", "error", "ZeroDivisionError: line break")


def test_python_is_compared_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(check_python()).status == "ok"
    monkeypatch.setattr(installation, "LEAST_PYTHON", (99, 1))
    assert (only(check_python()).status, "Python 99.1" in only(check_python()).advice) == ("error", True)


def test_the_least_python_is_the_one_that_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert declared == ">=" + ".".join(map(str, installation.LEAST_PYTHON))


def test_packages_are_compared_with_the_declared_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_subject(check_packages())["packages"].status == "ok"
    declared = [
        "numpy>=99",
        "no-such-package>=1",
        "no-such-extra>=1; extra == 'x'",
        "pytest<1; extra == 'dev'",
        "pluggy>=1",
    ]
    monkeypatch.setattr(installation, "requires", lambda name: declared)
    found = by_subject(check_packages())
    assert found.keys() == {"litepose-ofa", "numpy", "no-such-package", "pytest"}
    assert (found["numpy"].status, found["numpy"].advice) == ("warning", "pip install 'numpy>=99'")
    assert (found["pytest"].status, found["no-such-package"].status) == ("warning", "error")
    assert "pip install 'no-such-package>=1'" in found["no-such-package"].advice


def test_a_source_tree_that_nobody_installed_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "requires", absent)
    assert only(check_packages()).advice.endswith("pip install --editable .")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OMP_WAIT_POLICY", "ACTIVE"),
        ("KMP_BLOCKTIME", "infinite"),
        ("GOMP_SPINCOUNT", "INFINITY"),
        ("OMP_PROC_BIND", "close"),
        ("GOMP_CPU_AFFINITY", "0-3"),
        ("OMP_NUM_THREADS", "100000"),
    ],
)
def test_settings_of_threads_that_hurt_are_warned_of(variable: str, value: str) -> None:
    (processor, warning) = check_threads({variable: value})
    assert (processor.status, warning.subject, warning.status) == ("ok", variable, "warning")
    assert variable in warning.advice


def test_settings_of_threads_that_do_no_harm_are_not_mentioned() -> None:
    harmless = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "OMP_PROC_BIND": "false", "OMP_NUM_THREADS": "1"}
    assert only(check_threads(harmless)).subject == "processor"
    assert only(check_threads({})).subject == "processor"


def test_little_shared_memory_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "LEAST_SHARED_MEMORY_BYTES", 1)
    assert only(check_shared_memory(tmp_path)).status == "ok"
    monkeypatch.setattr(installation, "LEAST_SHARED_MEMORY_BYTES", 2**80)
    assert "--shm-size" in only(check_shared_memory(tmp_path)).advice
    assert list(check_shared_memory(tmp_path / "none")) == []


def test_a_changed_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(check_tables()).status == "ok"
    shipped = Path(shutil.copytree(latency_table.SHIPPED_DIR, tmp_path / "tables"))
    rows = shipped / "jetson_nano.csv"
    rows.write_text(rows.read_text().replace("1", "2", 1))
    monkeypatch.setattr(latency_table, "SHIPPED_DIR", shipped)
    found = only(check_tables())
    assert (found.subject, found.status) == ("table jetson_nano", "error")
    assert "jetson_nano" in found.text


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A folder of datasets with rendered people: one image a split."""
    for split in data.SPLITS:
        annotations = tmp_path / "people" / "annotations" / f"{split}.json"
        annotations.parent.mkdir(parents=True, exist_ok=True)
        annotations.write_text(json.dumps({"images": [{"file_name": "0.jpg"}]}))
        image = tmp_path / "people" / "images" / split / "0.jpg"
        image.parent.mkdir(parents=True)
        image.touch()
    return tmp_path


def test_datasets_are_complete_or_absent(people: Path) -> None:
    found = by_subject(check_datasets(people))
    assert found["dataset people"].status == "ok"
    assert "train 1, search 1, val 1 images" in found["dataset people"].text
    assert {found[f"dataset {name}"].status for name in ("coco", "crowdpose")} == {"absent"}
    assert "annotations_trainval2017.zip" in found["dataset coco"].text


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda root: (root / "images/val/0.jpg").unlink(), "val: 1 of 1 images are not in"),
        (lambda root: shutil.rmtree(root / "images"), "train: 1 of 1 images are not in"),
        (lambda root: (root / "annotations/search.json").unlink(), "search: no "),
        (lambda root: (root / "annotations/train.json").write_text("{"), "train.json is not an annotation file"),
        (lambda root: (root / "annotations/train.json").write_text("[]"), "train.json is not an annotation file"),
        (lambda root: (root / "annotations/train.json").write_bytes(b"\xff"), "train.json is not an annotation file"),
    ],
)
def test_what_a_dataset_lacks_is_named(people: Path, damage: Any, told: str) -> None:
    damage(people / "people")
    found = by_subject(check_datasets(people))["dataset people"]
    assert (found.status, told in found.text) == ("warning", True)
    assert ":;" not in found.text


def test_the_workspace_is_writable_and_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, status in ((2**40, "ok"), (5 * 2**30, "warning"), (2**20, "error")):
        monkeypatch.setattr(data.shutil, "disk_usage", lambda folder, free=free: usage._replace(free=free))
        assert only(check_workspace(tmp_path / "runs" / "mine")).status == status
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert (only(check_workspace(tmp_path / "file" / "runs")).status) == "error"


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("print('first'); print('last')", 0, "last"),
        ("import sys; print('why', file=sys.stderr); sys.exit(3)", 3, "why"),
        ("raise ImportError('libtorch.so is missing')", 1, "ImportError: libtorch.so is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11, "died with status -11"),
    ],
)
def test_a_process_says_what_became_of_it(code: str, status: int, words: str) -> None:
    assert status_and_words((sys.executable, "-c", code)) == (status, words)


def test_a_process_that_hangs_or_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "TIMEOUT_SECONDS", 0.1)
    assert status_and_words(("tail", "-f", "/dev/null")) == (1, "does not end within 0.1 s")
    assert status_and_words(("/no/such/program",)) == (1, "does not start: No such file or directory")


def test_runtimes_that_are_not_installed_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_is_installed", lambda package: False)
    found = only(check_litert())
    assert found.status == "absent"
    assert "pip install 'litepose-ofa[litert]'" in found.text


def test_programs_are_started_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {finding.status for finding in check_programs()} == {"absent"}
    for name, status in (("trtexec", 1), ("adb", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / name).chmod(0o755)
    found = by_subject(check_programs())
    assert (found["trtexec"].status, found["adb"].status) == ("warning", "ok")


@pytest.mark.parametrize(
    ("probes", "driver", "status"),
    [
        ({"torch": (0, "no CUDA in this build")}, False, "absent"),
        ({"torch": (0, "no CUDA in this build")}, True, "warning"),
        ({"torch": (0, "built for CUDA 13"), "cuda": (0, "NVIDIA H200, 139 GiB")}, True, "ok"),
        ({"torch": (0, "built for CUDA 13"), "cuda": (0, "")}, True, "warning"),
        ({"torch": (0, "built for CUDA 13"), "cuda": (1, "RuntimeError: driver too old")}, True, "error"),
    ],
)
def test_a_gpu_is_used_or_it_is_said_why_not(
    monkeypatch: pytest.MonkeyPatch, probes: dict[str, tuple[int, str]], driver: bool, status: str
) -> None:
    monkeypatch.setattr(runtimes, "_probe", probes.__getitem__)
    monkeypatch.setattr(runtimes.shutil, "which", lambda name: "/usr/bin/nvidia-smi" if driver else None)
    assert by_subject(check_torch())["GPU"].status == status


@pytest.mark.parametrize(("status", "exit_status"), [("ok", 0), ("absent", 0), ("warning", 0), ("error", 1)])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_exit_status_is_of_the_worst(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: Any, exit_status: int, flags: list[str]
) -> None:
    finding = Finding("thing", status, "was looked at", "do this")
    monkeypatch.setattr(doctor, "examine", lambda places, with_ray: iter([Finding("other", "ok", "fine"), finding]))
    monkeypatch.setattr(sys, "argv", ["litepose doctor", *flags])
    with pytest.raises(SystemExit) as exit:
        doctor.main()
    assert exit.value.code == exit_status
    printed = capsys.readouterr().out
    if flags:
        expected = {"subject": "thing", "status": status, "text": "was looked at", "advice": "do this"}
        assert json.loads(printed)[1] == expected
    else:
        assert "thing: was looked at\n        -> do this\n" in printed


def test_an_unknown_place_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["litepose doctor", "folder=x"])
    with pytest.raises(SystemExit) as exit:
        doctor.main()
    assert exit.value.code == 2
    assert "the keys are data_root, workspace" in capsys.readouterr().err


def run_doctor(folder: Path, *arguments: str, **variables: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Run the doctor in a process of its own; return its status, its findings by subject, and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "litepose_ofa", "doctor", "--json", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, {finding["subject"]: finding for finding in json.loads(done.stdout)}, done.stderr


def test_with_every_package_broken_there_is_advice_and_no_traceback(tmp_path: Path) -> None:
    for name in ("torch", "numpy", "yaml", "hydra", "omegaconf", "packaging", "onnx", "ray"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('lib{name}.so: cannot open shared object file')\n")
    search_path = f"{tmp_path}{os.pathsep}{ROOT}"
    status, found, complained = run_doctor(tmp_path, "--ray", PYTHONPATH=search_path)
    assert (status, complained) == (1, "")
    broken = {"packaging", "torch", "ONNX Runtime", "LiteRT", "ncnn", "latency tables", "datasets", "Ray"}
    assert {subject for subject, finding in found.items() if finding["status"] == "error"} >= broken - {
        subject for subject in ("LiteRT", "ncnn") if found[subject]["status"] == "absent"
    }
    assert "libtorch.so" in found["torch"]["text"]
    assert found["Python"]["status"] == "ok"
    assert all(finding["advice"] for finding in found.values() if finding["status"] in ("error", "warning"))
    assert "Traceback" not in json.dumps(found)


@pytest.mark.slow
def test_this_installation_is_healthy(tmp_path: Path) -> None:
    status, found, complained = run_doctor(tmp_path, "--ray", PYTHONPATH=str(ROOT))
    assert (status, complained) == (0, "")
    assert {subject: found[subject]["status"] for subject in ("torch", "ONNX Runtime", "completion", "Ray")} == {
        "torch": "ok",
        "ONNX Runtime": "ok",
        "completion": "ok",
        "Ray": "ok",
    }
    assert list(tmp_path.iterdir()) == []
