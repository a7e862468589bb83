"""The doctor: what each check says of what is right, absent and wrong; never a traceback, whatever is broken."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import table as latency_table
from litepose_ofa.scripts.verbs import doctor
from litepose_ofa.scripts.verbs.doctor import (
    Finding,
    check_compiler,
    check_datasets,
    check_packages,
    check_runtime,
    check_tables,
    check_threads,
)

ROOT = Path(__file__).parents[3]


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_the_least_python_is_the_one_that_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert declared == ">=" + ".".join(map(str, doctor.LEAST_PYTHON))


def test_packages_are_compared_with_the_declared_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_subject(check_packages())["packages"].status == "ok"
    extras = ["no-such-extra>=1; extra == 'x'", "pytest<1; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=99", "no-such-package>=1", "pluggy>=1", *extras])
    found = by_subject(check_packages())
    assert found.keys() == {"litepose-ofa", "numpy", "no-such-package", "pytest"}
    assert (found["numpy"].status, found["numpy"].advice) == ("warning", "pip install 'numpy>=99'")
    assert (found["pytest"].status, found["no-such-package"].status) == ("warning", "error")


def test_a_source_tree_that_nobody_installed_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", absent)
    (finding,) = check_packages()
    assert finding.advice.endswith("pip install --editable .")


@pytest.mark.usefixtures("needs_compiler")
def test_without_a_c_compiler_it_says_what_that_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = check_compiler()
    assert finding.status == "ok"
    monkeypatch.setattr("litepose_ofa.supernet.network.cpu_kernels.functions", lambda: None)
    (finding,) = check_compiler()
    assert (finding.status, "gcc" in finding.advice) == ("absent", True)


def test_a_changed_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = check_tables()
    assert finding.status == "ok"
    shipped = Path(shutil.copytree(latency_table.SHIPPED_DIR, tmp_path / "tables"))
    rows = shipped / "jetson_nano.csv"
    rows.write_text(rows.read_text().replace("1", "2", 1))
    monkeypatch.setattr(latency_table, "SHIPPED_DIR", shipped)
    (finding,) = check_tables()
    assert (finding.subject, finding.status) == ("table jetson_nano", "error")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda root: None, None),
        (lambda root: shutil.rmtree(root / "images"), "1 of 1 images are not in"),
        (lambda root: (root / "annotations/search.json").unlink(), "no "),
        (lambda root: (root / "annotations/train.json").write_text("["), "train.json is not an annotation file"),
        (lambda root: (root / "annotations/train.json").write_text("[]"), "train.json is not an annotation file"),
    ],
)
def test_what_a_dataset_lacks_is_named(tmp_path: Path, damage: Any, told: str | None) -> None:
    people = tmp_path / "people"
    (people / "annotations").mkdir(parents=True)
    for split in ("train", "search", "val"):
        (people / "images" / split).mkdir(parents=True)
        (people / "images" / split / "0.jpg").touch()
        (people / "annotations" / f"{split}.json").write_text(json.dumps({"images": [{"file_name": "0.jpg"}]}))
    damage(people)
    found = by_subject(check_datasets(tmp_path))
    assert found["dataset people"].status == ("ok" if told is None else "warning")
    assert told is None or told in found["dataset people"].text
    assert {found[f"dataset {name}"].status for name in ("coco", "crowdpose")} == {"absent"}


def test_the_number_of_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, status, told in (("3", "ok", "3, by OMP_NUM_THREADS"), ("x", "error", "OMP_NUM_THREADS is 'x'")):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        (finding,) = check_threads()
        assert finding.status == status
        assert finding.text.startswith(told)


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("print('first'); print('last')", "ok", "last"),
        ("raise ImportError('libtorch.so is missing')", "error", "ImportError: libtorch.so is missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "error", "died with status -11"),
        ("import time; time.sleep(60)", "error", "does not end within 1 s"),
    ],
)
def test_a_process_says_what_became_of_it(monkeypatch: pytest.MonkeyPatch, code: str, status: str, words: str) -> None:
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 1)
    (finding,) = check_runtime("thing", ["thing"], code=code)
    assert (finding.status, finding.text) == (status, words)


def test_runtimes_that_are_not_installed_are_absent() -> None:
    (finding,) = check_runtime("thing", ["no-such-package"], extra="thing")
    assert (finding.status, "litepose-ofa[thing]" in finding.text) == ("absent", True)


@pytest.mark.parametrize(
    ("arguments", "worst", "status", "told"),
    [
        ((), "absent", 0, "thing: was checked\n        -> do this\n"),
        ((), "warning", 0, "thing: was checked"),
        ((), "error", 1, "thing: was checked"),
        (("folder=x",), "ok", 2, "it takes data_root=FOLDER"),
    ],
)
def test_the_exit_status_is_of_the_worst(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: tuple[str, ...], worst: Any, status: int, told: str
) -> None:
    finding = Finding("thing", worst, "was checked", "do this")
    monkeypatch.setattr(doctor, "examine", lambda data_root: iter([Finding("other", "ok", "fine"), finding]))
    monkeypatch.setattr(sys, "argv", ["litepose doctor", *arguments])
    with pytest.raises(SystemExit) as exit:
        doctor.main()
    assert exit.value.code == status
    assert told in "".join(capsys.readouterr())


def run_doctor(folder: Path, python_path: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Run the doctor in a process of its own; return its status, its findings by subject, and standard error."""
    command = [sys.executable, "-m", "litepose_ofa", "doctor", "--json"]
    environment = os.environ | {"PYTHONPATH": python_path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, {finding["subject"]: finding for finding in json.loads(done.stdout)}, done.stderr


def test_with_every_package_broken_there_is_advice_and_no_traceback(tmp_path: Path) -> None:
    for name in ("torch", "numpy", "yaml", "hydra", "omegaconf", "packaging", "onnxruntime", "ray"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('lib{name}.so: cannot open shared object file')\n")
    status, found, complained = run_doctor(tmp_path, f"{tmp_path}{os.pathsep}{ROOT}")
    assert (status, complained) == (1, "")
    errors = {subject for subject, finding in found.items() if finding["status"] == "error"}
    assert errors >= {"packages", "torch", "ONNX Runtime", "latency tables", "datasets", "Ray"}
    assert "libtorch.so" in found["torch"]["text"]
    assert all(found[subject]["advice"] for subject in errors)
    assert "Traceback" not in json.dumps(found)


@pytest.mark.slow
def test_this_installation_is_healthy(tmp_path: Path) -> None:
    status, found, complained = run_doctor(tmp_path, str(ROOT))
    assert (status, complained) == (0, "")
    assert {found[subject]["status"] for subject in ("torch", "ONNX Runtime", "latency tables", "Ray")} == {"ok"}
    assert list(tmp_path.iterdir()) == []
