"""One contract for every storage: a search ends the same, resumes, and is refused in one line where it must be."""

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest

from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.strategies.evolution import EvolutionSettings, EvolutionStrategy
from litepose_ofa.search.study.generations import Generations, StopRule, StudySettings
from litepose_ofa.search.study.storages import open_storage
from litepose_ofa.search.study.study import SearchStudy
from litepose_ofa.supernet.errors import InputError

FIRST, BATCH = 6, 5


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """A server of the system's PostgreSQL, for the length of the tests, in a folder of its own."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra 'postgres')")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    if user is not None:
        shutil.chown(folder, user)
    name = user or pwd.getpwuid(os.geteuid()).pw_name

    def run(binary: str, *arguments: str) -> None:
        command = [str(binaries[-1].with_name(binary)), *arguments]
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    run("initdb", "--pgdata", data, "--auth", "trust", "--username", name, "--no-sync")
    run("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "log"), "-o", f"-c listen_addresses='' -k {folder}")
    try:
        yield f"postgresql+psycopg://{name}@/postgres?host={folder}"
    finally:
        run("pg_ctl", "stop", "-D", data, "-m", "immediate")
        shutil.rmtree(folder)


@pytest.fixture(params=["journal", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return str(tmp_path / "study.log") if request.param == "journal" else f"sqlite:///{tmp_path}/studies.db"


def make_study(
    location: str, problem: SearchProblem, predictor: AccuracyPredictor, *, name: str = "search", generations: int = 2
) -> SearchStudy:
    strategy = EvolutionStrategy(problem, EvolutionSettings(population=5))
    sizes, stop = StudySettings(FIRST, BATCH), StopRule(generations=generations)
    return SearchStudy(
        Generations(problem, strategy, settings=sizes, stop=stop), predictor, storage=location, name=name
    )


def test_a_search_ends_as_in_memory_and_resumes(
    location: str, problem: SearchProblem, predictor: AccuracyPredictor, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    expected = make_study("memory", problem, predictor).run().history

    def stop(search: Generations) -> None:
        if search.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_study(location, problem, predictor, name=name).run(stop)
    resumed = make_study(location, problem, predictor, name=name).run().history
    np.testing.assert_array_equal(resumed.genomes, expected.genomes)
    np.testing.assert_array_equal(resumed.ap, expected.ap)
    with open_storage(location, name) as storage:
        study = optuna.load_study(study_name=name, storage=storage)
        assert len(study.trials) == FIRST + 2 * BATCH
        assert study.metric_names == ["AP", "latency_ms/board"]
        assert study.trials[-1].user_attrs["arch_digest"] == problem.cost.codec.decode(expected.genomes[-1]).digest


def test_a_study_of_another_search_is_refused(
    location: str, problem: SearchProblem, predictor: AccuracyPredictor, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    make_study(location, problem, predictor, name=name, generations=3).run()
    with pytest.raises(InputError, match=r"is the study of another search .study.generations was 3, is 7.") as error:
        make_study(location, problem, predictor, name=name, generations=7).run()
    assert "\n" not in str(error.value)


def test_one_process_at_a_time_writes_a_study(location: str) -> None:
    with (
        open_storage(location, "mine"),
        pytest.raises(InputError, match=r"another process writes (it|the study)"),
        open_storage(location, "mine"),
    ):
        pass
    with open_storage(location, "mine"):
        pass


def test_a_damaged_journal_names_the_line(problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    make_study(str(path), problem, predictor).run()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[7] = lines[7][:40] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"study\.log, line 8: is not a JSON object"):
        make_study(str(path), problem, predictor).run()
    path.write_text('{"colour": "red"}\n')
    with pytest.raises(InputError, match=r"study\.log: is not an Optuna journal"):
        make_study(str(path), problem, predictor).run()


def test_a_damaged_database_is_refused(problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(InputError, match=r"studies\.db: the study's storage failed .file is not a database"):
        make_study(f"sqlite:///{tmp_path}/studies.db", problem, predictor).run()


def test_a_locked_database_is_refused_and_the_study_stays(
    problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = f"sqlite:///{tmp_path}/studies.db?timeout=0"
    monkeypatch.setattr("optuna.storages._rdb.storage.random.random", lambda: 0.0)  # its waits before another try
    blocker = sqlite3.connect(tmp_path / "studies.db", isolation_level=None)

    def lock(search: Generations) -> None:
        if search.number == 2:
            blocker.execute("BEGIN EXCLUSIVE")

    with pytest.raises(InputError, match=r"the study's storage failed .database is locked"):
        make_study(location, problem, predictor).run(lock)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert len(make_study(location, problem, predictor).run().history) == FIRST + 2 * BATCH
    with open_storage(location, "search") as storage:
        assert len(optuna.load_study(study_name="search", storage=storage).trials) == FIRST + 2 * BATCH


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("sqlite:////dev/null/studies.db", "/dev/null"),
        ("oracle9://host/name", "oracle9://host/name: the study's storage failed"),
        ("://", "'://' is not a URL of a database"),
    ],
)
def test_a_storage_that_cannot_be_is_named(
    location: str, message: str, problem: SearchProblem, predictor: AccuracyPredictor
) -> None:
    with pytest.raises((InputError, OSError), match=message):
        make_study(location, problem, predictor).run()


def test_a_journal_in_memory_keeps_no_parameters_of_what_it_wrote(
    problem: SearchProblem, predictor: AccuracyPredictor, tmp_path: Path
) -> None:
    location = str(tmp_path / "study.log")
    with open_storage(location, "search") as storage:
        study = optuna.create_study(study_name="search", storage=storage)
        study.add_trial(optuna.create_trial(value=1.0, user_attrs={"long": "x" * 1000}))
        assert [trial.user_attrs for trial in study.trials] == [{}]
    with open_storage(location, "search") as storage:
        (trial,) = optuna.load_study(study_name="search", storage=storage).trials
        assert (trial.value, len(trial.user_attrs["long"])) == (1.0, 1000)
