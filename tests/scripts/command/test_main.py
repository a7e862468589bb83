"""The ``litepose`` command: its verbs and their help, what it imports, errors in one line, sweeps that go on."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from litepose_ofa.scripts.command import main as litepose
from litepose_ofa.scripts.command.app import CONFIG_DIR, script
from litepose_ofa.scripts.command.help import verb_help
from litepose_ofa.scripts.command.table import CONFIGURED, SECTIONS, VERBS, Verb
from litepose_ofa.scripts.settings.searching import FitVerb
from litepose_ofa.supernet.errors import InputError

ROOT = Path(__file__).parents[3]
HEAVY = {"cv2", "hydra", "numpy", "omegaconf", "optuna", "pandas", "ray", "scipy", "torch"}

Call = Callable[..., tuple[int | str | None, str, str]]


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


def test_every_script_is_a_verb_with_a_config_and_a_page() -> None:
    apps = {
        name
        for path in (ROOT / "scripts" / "verbs").glob("*.py")
        for name in re.findall(r'^@script\("(\w+)", \w+\)$', path.read_text(), flags=re.MULTILINE)
        if name == path.stem
    }
    assert {verb.module for verb in CONFIGURED.values()} == apps
    assert apps == {path.stem for path in Path(CONFIG_DIR).glob("*.yaml")} - {"base"}
    assert len(VERBS) == sum(map(len, SECTIONS.values()))
    assert [verb.page for verb in VERBS.values() if verb.page is not None and not (ROOT / verb.page).exists()] == []


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_help_has_a_line_for_every_verb(call: Call, arguments: tuple[str, ...]) -> None:
    status, printed, complained = call(*arguments)
    assert (status, complained) == (0, "")
    assert all(re.search(rf"^  {verb.name} +{re.escape(verb.line)}$", printed, re.MULTILINE) for verb in VERBS.values())
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize("arguments", ["--help", "--version", "search --help", "serch"])
def test_what_runs_nothing_imports_nothing_heavy(arguments: str) -> None:
    code = (
        f"import sys; sys.argv = ['litepose', *{arguments.split()}]\n"
        "from litepose_ofa.scripts.command.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('imported:', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.rpartition("imported:")[2].split())
    assert "litepose_ofa" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("serch", "search"), ("build_table", "build-table")],
)
def test_an_unknown_verb_is_answered_with_the_nearest(call: Call, typed: str, meant: str) -> None:
    told = f"error: unknown verb '{typed}'; did you mean {meant}? litepose --help lists all\n"
    assert call(typed) == (2, "", told)


def test_a_word_like_no_verb_is_answered_without_a_guess(call: Call) -> None:
    assert call("qqq") == (2, "", "error: unknown verb 'qqq'; litepose --help lists all\n")


def test_the_version_names_what_results_depend_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    status, printed, _ = call("--version")
    assert status == 0
    assert re.fullmatch(r"litepose-ofa [\d.]+, torch \S+, optuna [\d.]+, ray [\d.]+\n", printed)
    monkeypatch.setattr(litepose, "version", _absent)
    assert "torch not installed" in call("--version")[1]


def _absent(package: str) -> str:
    raise litepose.PackageNotFoundError(package)


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_a_verb_that_is_stopped_ends_without_a_traceback(stop: type[BaseException], status: int) -> None:
    code = (
        "import sys; from litepose_ofa.scripts.command import main as litepose\n"
        f"def stop(): print('first'); raise {stop.__name__}\n"
        "sys.modules['litepose_ofa.scripts.verbs.doctor'] = type('doctor', (), {'main': stop})\n"
        "sys.argv = ['litepose', 'doctor']\n"
        "litepose.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")


def test_a_missing_package_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    monkeypatch.delitem(sys.modules, "litepose_ofa.scripts.verbs.completion", raising=False)
    told = "error: the module 'hydra' is not installed; litepose doctor says what to do\n"
    assert call("completion", "bash") == (2, "", told)


@pytest.mark.parametrize("verb", CONFIGURED.values(), ids=CONFIGURED)
def test_the_help_of_a_verb_has_its_keys_groups_and_examples(verb: Verb) -> None:
    text = verb_help(verb)
    config = yaml.safe_load((Path(CONFIG_DIR) / f"{verb.module}.yaml").read_text())
    for key in config.keys() - {"defaults", "hydra"}:
        assert re.search(rf"^  {key}:", text, re.MULTILINE)
    for group in (entry for entry in config["defaults"] if isinstance(entry, dict)):
        for path in (Path(CONFIG_DIR) / next(iter(group))).glob("*.yaml"):
            assert re.search(rf"[=|] ?{path.stem}\b", text)
    assert "  workspace: runs/" in text
    assert "hydra:" not in text
    assert "???" not in text.partition("Keys of every verb")[2]


EXAMPLES = [
    pytest.param(verb.module, example, id=f"{verb.name} {example}")
    for verb in CONFIGURED.values()
    for example in verb.examples
]


@pytest.mark.parametrize(("config_name", "example"), EXAMPLES)
def test_every_example_is_of_keys_and_options_that_exist(config_name: str, example: str) -> None:
    arguments = shlex.split(example)
    overrides = [text.replace("glob(*)", "jetson_nano") for text in arguments if text != "-m"]
    if "-m" in arguments:
        overrides = [re.sub(r"(=\w+),.*", r"\1", text) for text in overrides]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        compose(config_name, overrides)


def sweep(
    task: Callable[[int], None], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int | str | None, str, list[int]]:
    """Run a task on five seeds; return the status, standard error, and the seeds that were finished."""
    finished = []

    @script("fit", FitVerb)
    def main(cfg: DictConfig) -> None:
        task(cfg.seed)
        finished.append(cfg.seed)

    monkeypatch.setattr(sys, "argv", ["litepose fit", "-m", "seed=0,1,2,3,4", f"workspace={folder}"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    status: int | str | None = 0
    try:
        main()
    except SystemExit as exit:
        status = exit.code
    return status, capsys.readouterr().err, finished


def test_a_sweep_goes_on_past_runs_that_fail_and_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse_odd(seed: int) -> None:
        if seed % 2:
            raise InputError(f"seed {seed} is odd")

    status, complained, finished = sweep(refuse_odd, tmp_path, monkeypatch, capsys)
    assert (status, finished) == (2, [0, 2, 4])
    lines = [line for line in complained.splitlines() if line.startswith("error: ")]
    cells = [f"seed={seed} workspace={tmp_path}" for seed in (1, 3)]
    assert lines[:2] == [f"error: {cell}: seed {seed} is odd" for cell, seed in zip(cells, (1, 3), strict=True)]
    assert lines[2:] == [f"error: the sweep is done, without: {'; '.join(cells)}"]


def test_a_bug_in_a_sweep_is_shown_behind_a_users_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(seed: int) -> None:
        if seed == 1:
            raise InputError("not this one")
        if seed == 3:
            raise ZeroDivisionError("a bug")

    status, complained, finished = sweep(fail, tmp_path, monkeypatch, capsys)
    assert (status, finished) == (2, [0, 2, 4])
    assert complained.splitlines()[-1].count("workspace=") == 2
    (log,) = (tmp_path / "predictor").glob("*.log")
    assert "ZeroDivisionError: a bug" in log.read_text()


def test_a_bug_alone_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(seed: int) -> None:
        assert seed < 4, "a bug"

    with pytest.raises(AssertionError, match="a bug"):
        sweep(fail, tmp_path, monkeypatch, capsys)
