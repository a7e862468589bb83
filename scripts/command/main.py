"""The ``litepose`` command: one verb a script, each imported when it is asked for."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import NoReturn

from litepose_ofa.scripts.command.table import COMPLETION_FLAGS, CONFIGURED, HELP_FLAGS, SECTIONS, VERBS, module_name

HELP = """\
litepose VERB [key=value ...]

Train one LitePose supernet, search it for each device, cut out and export the networks that fit.

{verbs}

Start:
  litepose generate-people && litepose train && litepose sample && litepose fit
  litepose search -m device=jetson_nano,raspberry_pi_4b tier=s,m
  litepose export -m device=jetson_nano,raspberry_pi_4b tier=s,m && litepose report

  Nothing trained yet:  litepose search space=litepose evaluator=published device=jetson_nano
  Your own data:        litepose train dataset=coco space=litepose

litepose VERB --help      its keys and groups, with examples
litepose VERB --cfg job   every key with its value, nothing run
litepose VERB -m ...      a sweep: each combination of key=a,b,c is a run
litepose --version        versions of this, of torch, Optuna and Ray

A run writes into one folder below workspace=; started again, it goes on from where it was. Read on: README.md, docs/.
"""


def main() -> None:
    """Run the verb that the command line names.

    Exits with status 2 and one line if there is no such verb, or a package that it needs is not installed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be of the terminal's encoding
    try:
        _dispatch(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader has seen enough, as head has; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _dispatch(arguments: Sequence[str]) -> None:
    first = arguments[0] if arguments else "--help"
    if first in HELP_FLAGS:
        print(_help(), end="")
    elif first == "--version":
        print(", ".join(f"{package} {_version(package)}" for package in ("litepose-ofa", "torch", "optuna", "ray")))
    elif first in COMPLETION_FLAGS:
        _run("completion", arguments)
    elif first in VERBS:
        _run(first, arguments[1:])
    else:
        near = difflib.get_close_matches(first, VERBS, n=1)
        _fail(f"unknown verb {first!r}; {f'did you mean {near[0]}? ' if near else ''}litepose --help lists all")


def _run(name: str, arguments: Sequence[str]) -> None:
    """Run a verb, or print its help, which asks for no more than its config."""
    sys.argv = [f"litepose {name}", *arguments]
    try:
        if name in CONFIGURED and HELP_FLAGS & set(arguments):
            print(importlib.import_module("litepose_ofa.scripts.command.help").verb_help(name), end="")
        else:
            importlib.import_module(f"litepose_ofa.scripts.verbs.{module_name(name)}").main()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "litepose_ofa":
            raise
        _fail(f"the module {error.name!r} is not installed; litepose doctor says what to do")


def _help() -> str:
    width = max(map(len, VERBS))
    sections = (
        "\n".join([f"{title}:", *(f"  {verb:{width}}  {line}" for verb, line in verbs.items())])
        for title, verbs in SECTIONS.items()
    )
    return HELP.format(verbs="\n\n".join(sections))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
