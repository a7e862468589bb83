"""Every command of the README and the docs: its keys and groups exist, and what it names is there."""

import importlib
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.scripts.command.help import verb_help
from litepose_ofa.scripts.command.table import CONFIGURED, VERBS, module_name

SWEEP_FLAGS = {"-m", "--multirun"}
OTHER_FLAGS = {"--cfg", "--help", "--config-dir"}
PLUGIN = ("hydra/launcher", "hydra.launcher", "+hydra.launcher")
"""Keys that exist where a launcher is installed."""

PATCHED = "a source tree to change"
"""The mark of commands whose keys and options a patch brings."""


@pytest.fixture(scope="module")
def check_composing(shown_files: Path) -> Iterator[Any]:
    """Compose a script's config by the arguments of a command; of a sweep its first, and the options of all."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        yield cache(partial(compose_as_told, shown_files))


def compose_as_told(shown_files: Path, module: str, arguments: tuple[str, ...]) -> None:
    importlib.import_module(f"litepose_ofa.scripts.verbs.{module}")  # it registers its resolvers
    flags = {argument for argument in arguments if argument.startswith("-")}
    assert flags <= SWEEP_FLAGS | OTHER_FLAGS, f"unknown flags {flags}"
    words = [word for word in arguments if not word.startswith(("-", *PLUGIN)) and ("=" in word or word[0] == "~")]
    if "--config-dir" in arguments:
        folder = shown_files / arguments[arguments.index("--config-dir") + 1]
        words.append(f"hydra.searchpath=[file://{folder}]")
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(words)
    firsts = []
    for override in overrides:
        text = str(override.input_line)
        if override.is_sweep_override():
            assert flags & SWEEP_FLAGS, f"several values without -m: {text}"
            values, options = [*override.sweep_string_iterator()], loader.get_group_options(override.key_or_group)
            assert not options or set(values) <= set(options), text
            text = f"{override.get_key_element()}={values[0]}"
        firsts.append(text)
    OmegaConf.to_container(compose(module, firsts), resolve=True, throw_on_missing=True)


def test_every_command_composes(check_composing: Any, all_commands: list[Any]) -> None:
    wrong = []
    for command in all_commands:
        if command.verb in CONFIGURED and command.needs != PATCHED:
            try:
                check_composing(module_name(command.verb), command.arguments)
            except Exception as error:
                wrong.append(f"{command}\n    {str(error).strip().splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


def test_every_verb_exists(all_commands: list[Any]) -> None:
    verbs = {command.verb for command in all_commands} - {None}
    assert verbs <= {*VERBS, "--help", "--version"}
    assert len(verbs & VERBS.keys()) >= 15


def test_every_verb_in_a_sentence_exists(page: str, root: Path) -> None:
    named = re.findall(r"`litepose\s+([a-z][a-z-]*)", (root / page).read_text(encoding="utf-8"))
    assert set(named) <= VERBS.keys()


def test_what_other_commands_name_is_there_and_what_they_need_is_said(all_commands: list[Any], root: Path) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = (root / "Makefile").read_text()
    wrong = [str(command) for command in all_commands if command.verb is None and command.needs is None]
    for command in all_commands:
        for first, word in itertools.pairwise(command.words):
            name, _, extra = word.partition("[")
            is_file = "python" in first and word.startswith(("docs/", "benchmarks/"))
            is_package = name in (".", "litepose-ofa") and extra
            if (
                (is_file and not (root / word).exists())
                or (first == "make" and f"\n{word}:" not in targets)
                or (is_package and not set(extra.rstrip("]").split(",")) <= extras.keys())
            ):
                wrong.append(str(command))
    assert wrong == []


@pytest.mark.parametrize("verb", CONFIGURED)
def test_the_examples_of_the_help_compose_and_its_page_is_there(check_composing: Any, root: Path, verb: str) -> None:
    text = verb_help(verb)
    examples = re.findall(rf"^  litepose {verb} ?(.*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        check_composing(module_name(verb), tuple(shlex.split(example)))
    assert all((root / page).exists() for page in re.findall(r"^Read on: (.*)$", text, re.MULTILINE))


def test_every_block_says_its_language_and_python_imports_what_is_there(all_blocks: list[Any]) -> None:
    known = {"bash", "python", "text", "yaml", "csv", "json", "diff", "pycon", "toml"}
    assert [f"{each.page}:{each.line}" for each in all_blocks if each.language not in known] == []
    for block in all_blocks:
        if block.language == "python":
            compile(block.text, f"{block.page}:{block.line}", "exec", dont_inherit=True)
            imports = [line for line in block.text.splitlines() if line.startswith(("import ", "from "))]
            if block.needs is None:
                exec("\n".join(imports), {})
