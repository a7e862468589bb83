"""Print what makes a shell complete ``litepose``, and answer the shell: verbs from the table, the rest by Hydra."""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, suppress
from io import StringIO

import hydra

from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.scripts.command.help import BASE
from litepose_ofa.scripts.command.table import COMPLETION_FLAGS, CONFIGURED, HELP_FLAGS, VERBS, module_name

COMMAND = "litepose"
HELP = """\
litepose completion SHELL: print what makes a shell complete litepose, its verbs, keys and group options

  bash   in ~/.bashrc:                    eval "$(litepose completion bash)"
  zsh    in ~/.zshrc, after compinit:     eval "$(litepose completion zsh)"
  fish   in ~/.config/fish/config.fish:   litepose completion fish | source
"""
PREAMBLES = {"bash": "", "zsh": "autoload -Uz bashcompinit && bashcompinit\n", "fish": ""}
INSTALLED_AS = {"bash": "bash", "zsh": "bash", "fish": "fish"}
"""Whose function of Hydra's a shell runs."""

ARGUMENTS = {"doctor": ("--json", "data_root="), "completion": tuple(PREAMBLES)}
"""Of the verbs that have no config."""


def main() -> None:
    """Print a shell's completion, or answer its query; exit with status 2 for a shell that is not known."""
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[0] in COMPLETION_FLAGS:
        request, _, shell = arguments[1].partition("=")
        if request == "query" and shell in INSTALLED_AS:
            _answer(shell)
            return
    elif len(arguments) == 1 and arguments[0] in PREAMBLES:
        (shell,) = arguments
        print(PREAMBLES[shell], end="", flush=True)
        _ask_hydra(f"install={INSTALLED_AS[shell]}")
        return
    elif not arguments or HELP_FLAGS & set(arguments):
        print(HELP, end="")
        return
    print(f"error: unknown shell {' '.join(arguments)!r}; known: {', '.join(PREAMBLES)}", file=sys.stderr)
    sys.exit(2)


def _answer(shell: str) -> None:
    """Print the completions of the command line in ``COMP_LINE``."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()[1:]
    is_first = len(words) + line[-1:].isspace() <= 1
    if is_first:
        _offer(VERBS, words, shell)
    elif words[0] in ARGUMENTS:
        _offer(ARGUMENTS[words[0]], words[1:] if not line[-1:].isspace() else [], shell)
    elif words[0] in CONFIGURED:
        os.environ["COMP_LINE"] = " ".join([COMMAND, *words[1:]]) + (" " if line[-1:].isspace() else "")
        with suppress(Exception, SystemExit), redirect_stderr(StringIO()):  # a shell would print it into the line
            _ask_hydra(f"query={shell}", module_name(words[0]))


def _offer(known: Iterable[str], words: Sequence[str], shell: str) -> None:
    begun = words[-1] if words else ""
    print(("\n" if shell == "fish" else " ").join(name for name in known if name.startswith(begun)))


def _ask_hydra(request: str, config_name: str = BASE) -> None:
    """Let Hydra's completion of an app print; it looks at configs, so that no script need be imported."""
    sys.argv = [COMMAND, "-sc", request]
    hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name=config_name)(lambda cfg: None)()
