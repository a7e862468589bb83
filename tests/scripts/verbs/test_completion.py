"""Completion as a shell asks for it: a real bash, the functions that Hydra installs, verbs in front."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from litepose_ofa.scripts.command.table import VERBS
from litepose_ofa.scripts.verbs import completion

ROOT = Path(__file__).parents[3]

ASK = """
eval "$(litepose completion bash)"
[[ "$(complete -p litepose)" == *"-F hydra_bash_completion litepose" ]] || exit 1
while IFS= read -r line; do
    COMP_LINE="$line" COMP_POINT=${#line}
    read -ra COMP_WORDS <<< "$line"
    COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
    if [[ "$line" == *" " ]]; then COMP_CWORD=$(( COMP_CWORD + 1 )); fi
    COMPREPLY=()
    hydra_bash_completion
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which a shell finds a ``litepose`` that is this source tree's."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "litepose"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m litepose_ofa "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_bash_completes_verbs_keys_groups_and_options(environment: dict[str, str]) -> None:
    expected = {
        "litepose ": list(VERBS),
        "litepose se": ["search", "sensitivity"],
        "litepose doctor --": ["--json"],
        "litepose search devi": ["device.", "device=", "devices="],
        "litepose search device=j": ["device=jetson_nano"],
        "litepose search -m device=jetson_nano search.evolution.po": ["search.evolution.population="],
        "litepose train recipe=": ["recipe=progressive", "recipe=sandwich", "recipe=single"],
        "litepose search run_folder=": ["run_folder=search/raspberry_pi_4b/m"],
        "litepose search nonsense=1 ti": [],
        "litepose nonsense ti": [],
    }
    asked = "".join(f"{line}\n" for line in expected)
    command = ["bash", "--norc", "-c", ASK]
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    replies = [reply.split() for reply in done.stdout.splitlines()]
    assert dict(zip(expected, replies, strict=True)) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_the_function_that_hydra_has_for_it(environment: dict[str, str], shell: str) -> None:
    command = ["litepose", "completion", shell]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    function = "hydra_fish_completion" if shell == "fish" else "hydra_bash_completion"
    assert function in done.stdout
    assert done.stdout.startswith("autoload -Uz bashcompinit") == (shell == "zsh")
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def test_fish_gets_a_completion_a_line_and_others_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", "litepose s")
    for arguments, told in (
        (("-sc", "query=fish"), "sample\nsearch\nsensitivity\n"),
        ((), 'eval "$(litepose completion bash)"'),
    ):
        monkeypatch.setattr(sys, "argv", ["litepose completion", *arguments])
        completion.main()
        assert told in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("tcsh",), ("-sc", "query=tcsh"), ("-sc", "install=bash"), ("bash", "zsh")])
def test_another_shell_is_refused_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["litepose completion", *arguments])
    with pytest.raises(SystemExit) as exit:
        completion.main()
    assert exit.value.code == 2
    assert capsys.readouterr().err.endswith("known: bash, zsh, fish\n")
