"""The text of ``litepose VERB --help``: the comments of the verb's config as explanations, its groups, examples."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent, shorten
from typing import Any

import yaml

import litepose_ofa
from litepose_ofa.scripts.command.table import Verb

CONFIG_FOLDER = Path(litepose_ofa.__file__).parent / "conf"  # importing it would import OmegaConf
BASE = "base"
NOT_SHOWN = frozenset({"defaults", "hydra"})
"""Top-level keys that are not settings of the run: the groups, and what Hydra is told."""

SUMMARY_WIDTH = 100

FLAGS = """\
-m, --multirun             a sweep: key=a,b,c and 'group=glob(*)' make a run for each combination
--cfg job                  print every key with its value and run nothing; one group: --cfg job --package GROUP
--config-dir FOLDER        a folder of your own options: FOLDER/device/my_board.yaml is then device=my_board
+key=value, ~key           add a key, remove one
--hydra-help               what Hydra itself can do
"""


def verb_help(verb: Verb) -> str:
    """Return the help of a verb that has a config.

    Args:
        verb: One of ``litepose_ofa.scripts.command.table.CONFIGURED``.
    """
    text = _read(verb.module)
    sections = {
        "Examples": "".join(f"{f'litepose {verb.name} {example}'.rstrip()}\n" for example in verb.examples),
        "Keys": _own_keys(text),
        "Groups, as group=option (the first is the default)": "".join(_groups(text)),
        "Keys of every verb": "".join(line for line in _own_keys(_read(BASE)).splitlines(True) if "???" not in line),
        "Flags": FLAGS,
    }
    shown = (f"\n{title}:\n{indent(body, '  ')}" for title, body in sections.items() if body)
    head = f"litepose {verb.name} [key=value ...]: {verb.line}\n\n{_header(text)}"
    page = "" if verb.page is None else f"\nRead on: {verb.page}\n"
    return f"{head}{''.join(shown)}{page}"


def composed_groups(config_name: str) -> list[str]:
    """Return the config groups that a config and ``base`` compose."""
    return list(_composed(_read(config_name)))


def _read(name: str) -> str:
    return (CONFIG_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def _header(text: str) -> str:
    """Return the comment that a config begins with, without Hydra's directives."""
    lines = re.match(r"(?:#.*\n)*", text)
    assert lines is not None
    return re.sub(r"^# ?(@.*\n)?", "", lines[0], flags=re.MULTILINE)


def _own_keys(text: str) -> str:
    """Return a config's lines without its header and without ``NOT_SHOWN``."""
    kept, showing = [], True
    for line in text.splitlines()[len(_header(text).splitlines()) :]:
        key = re.match(r"(\w+):", line)
        if key is not None:
            showing = key[1] not in NOT_SHOWN
        elif line.startswith("#"):
            showing = True
        if showing and line.strip():
            kept.append(f"{line}\n")
    return "".join(kept)


def _groups(text: str) -> Iterator[str]:
    """Yield the options of each group that a config composes: with what they are, where their files say it."""
    for group, default in _composed(text).items():
        options = sorted(path.stem for path in (CONFIG_FOLDER / group).glob("*.yaml"))
        options.sort(key=lambda name: name != default)
        summaries = {"null": "none of them"} if default is None else {}
        summaries |= {name: _summary(_header(_read(f"{group}/{name}"))) for name in options}
        if any(summaries.values()):
            width = max(map(len, summaries))
            yield from (f"{group}={name:{width}}  {summary}".rstrip() + "\n" for name, summary in summaries.items())
        else:
            yield f"{group}={' | '.join(options)}\n"


def _composed(text: str) -> dict[str, Any]:
    """Return the groups that a config and ``base`` compose, with the option that each has by default."""
    entries = [*yaml.safe_load(text)["defaults"], *yaml.safe_load(_read(BASE))["defaults"]]
    named = {
        group.removeprefix("optional "): default
        for entry in entries
        if isinstance(entry, dict)
        for group, default in entry.items()
    }
    return {group: named["space"] if default == "${space}" else default for group, default in named.items()}


def _summary(header: str) -> str:
    """Return the first sentence of an option's header, or as much of it as a line holds."""
    sentence = re.split(r"(?<=\w\w)\. ", " ".join(header.split()), maxsplit=1)[0]
    return shorten(sentence.rstrip("."), SUMMARY_WIDTH, placeholder=" ...")
