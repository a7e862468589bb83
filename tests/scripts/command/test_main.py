"""The ``litepose`` command: its verbs and their help, what it imports, errors in one line, sweeps that go on."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from litepose_ofa.scripts.command import main as litepose
from litepose_ofa.scripts.command.app import CONFIG_DIR, script
from litepose_ofa.scripts.command.help import verb_help
from litepose_ofa.scripts.command.table import CONFIGURED, VERBS, module_name
from litepose_ofa.scripts.verbs.fit import FitVerb
from litepose_ofa.supernet.errors import InputError

ROOT = Path(__file__).parents[3]
HEAVY = {"cv2", "hydra", "numpy", "omegaconf", "optuna", "pandas", "ray", "scipy", "torch"}

Call = Callable[..., tuple[int | str | None, str, str]]
Sweep = Callable[[Callable[[int], None]], tuple[int | str | None, str, list[int]]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``litepose`` in this process; return its status and what it printed."""

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["litepose", *arguments])
        status: int | str | None = 0
        try:
            litepose.main()
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return run


def test_every_verb_has_a_module_and_every_app_a_config() -> None:
    scripts = {path.stem for path in (ROOT / "scripts" / "verbs").glob("*.py")} - {"__init__"}
    assert scripts == set(map(module_name, VERBS))
    assert {path.stem for path in Path(CONFIG_DIR).glob("*.yaml")} - {"base"} == set(map(module_name, CONFIGURED))


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_help_has_a_line_for_every_verb(call: Call, arguments: tuple[str, ...]) -> None:
    status, printed, complained = call(*arguments)
    assert (status, complained) == (0, "")
    assert all(re.search(rf"^  {verb} +{re.escape(line)}$", printed, re.MULTILINE) for verb, line in VERBS.items())
    assert max(map(len, printed.splitlines())) <= 120


def python(code: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from litepose_ofa.scripts.command import main as litepose\n{code}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", ["--help", "--version", "search --help", "serch"])
def test_what_runs_nothing_imports_nothing_heavy(arguments: str) -> None:
    done = python(
        f"sys.argv = ['litepose', *{arguments.split()}]\n"
        "try: litepose.main()\nexcept SystemExit: pass\n"
        "print('imported:', *{name.partition('.')[0] for name in sys.modules})"
    )
    imported = set(done.stdout.rpartition("imported:")[2].split())
    assert "litepose_ofa" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("serch", "did you mean search? "), ("build_table", "did you mean build-table? "), ("qqq", "")],
)
def test_an_unknown_verb_is_answered_with_the_nearest(call: Call, typed: str, meant: str) -> None:
    assert call(typed) == (2, "", f"error: unknown verb '{typed}'; {meant}litepose --help lists all\n")


def test_the_version_names_what_results_depend_on(call: Call) -> None:
    status, printed, _ = call("--version")
    assert status == 0
    assert re.fullmatch(r"litepose-ofa [\d.]+, torch \S+, optuna [\d.]+, ray [\d.]+\n", printed)


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_a_verb_that_is_stopped_ends_without_a_traceback(stop: type[BaseException], status: int) -> None:
    done = python(
        f"def stop(): print('first'); raise {stop.__name__}\n"
        "sys.modules['litepose_ofa.scripts.verbs.doctor'] = type('doctor', (), {'main': stop})\n"
        "sys.argv = ['litepose', 'doctor']\n"
        "litepose.main()"
    )
    assert (done.returncode, done.stderr) == (status, "")


def test_a_missing_package_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    monkeypatch.delitem(sys.modules, "litepose_ofa.scripts.verbs.completion", raising=False)
    told = "error: the module 'hydra' is not installed; litepose doctor says what to do\n"
    assert call("completion", "bash") == (2, "", told)


@pytest.mark.parametrize("verb", CONFIGURED)
def test_the_help_of_a_verb_has_its_keys_and_groups(verb: str) -> None:
    text = verb_help(verb)
    config = yaml.safe_load((Path(CONFIG_DIR) / f"{module_name(verb)}.yaml").read_text())
    for key in config.keys() - {"defaults", "hydra"}:
        assert re.search(rf"^  {key}:", text, re.MULTILINE)
    for group in (entry for entry in config["defaults"] if isinstance(entry, dict)):
        for path in (Path(CONFIG_DIR) / next(iter(group))).glob("*.yaml"):
            assert re.search(rf"[=|] ?{path.stem}\b", text)
    assert "  workspace: runs/" in text
    assert "hydra:" not in text
    assert "???" not in text.partition("Keys of every verb")[2]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweep:
    """Run a task on five seeds; return the status, standard error, and the seeds that were finished."""

    def run(task: Callable[[int], None]) -> tuple[int | str | None, str, list[int]]:
        finished = []

        @script("fit", FitVerb)
        def main(cfg: DictConfig) -> None:
            task(cfg.seed)
            finished.append(cfg.seed)

        monkeypatch.setattr(sys, "argv", ["litepose fit", "-m", "seed=0,1,2,3,4", f"workspace={tmp_path}"])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code, capsys.readouterr().err, finished

    return run


def test_a_sweep_goes_on_past_runs_that_fail_and_names_them(sweep: Sweep, tmp_path: Path) -> None:
    def fail(seed: int) -> None:
        if seed == 1:
            raise InputError("not this one")
        if seed == 3:
            raise ZeroDivisionError("a bug")

    status, complained, finished = sweep(fail)
    assert (status, finished) == (2, [0, 2, 4])
    lines = [line for line in complained.splitlines() if line.startswith("error: ")]
    cells = [f"seed={seed} workspace={tmp_path}" for seed in (1, 3)]
    assert lines == [f"error: {cells[0]}: not this one", f"error: the sweep is done, without: {'; '.join(cells)}"]
    (log,) = (tmp_path / "predictor").glob("*.log")
    assert "ZeroDivisionError: a bug" in log.read_text()


def test_a_bug_alone_keeps_its_traceback(sweep: Sweep) -> None:
    def fail(seed: int) -> None:
        assert seed < 4, "a bug"

    with pytest.raises(AssertionError, match="a bug"):
        sweep(fail)
