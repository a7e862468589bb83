"""The text of ``litepose VERB --help``: the verb's config with its comments, and the groups that it composes."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent, shorten
from typing import Any

import yaml

import litepose_ofa
from litepose_ofa.scripts.command.table import VERBS, module_name

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


def verb_help(verb: str) -> str:
    """Return the help of a verb that has a config."""
    text = _read(module_name(verb))
    sections = {
        "Keys": _own_keys(text),
        "Groups, as group=option (the first is the default)": "".join(_groups(text)),
        "Keys of every verb": "".join(line for line in _own_keys(_read(BASE)).splitlines(True) if "???" not in line),
        "Flags": FLAGS,
    }
    shown = (f"\n{title}:\n{indent(body, '  ')}" for title, body in sections.items() if body)
    return f"litepose {verb} [key=value ...]: {VERBS[verb]}\n\n{_header(text)}{''.join(shown)}"


def composed_groups(config_name: str) -> list[str]:
    """Return the config groups that a config and ``base`` compose."""
    return list(_composed(_read(config_name)))


def _read(name: str) -> str:
    return (CONFIG_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def _header_lines(text: str) -> str:
    return text[: len(text) - len(re.sub(r"\A(?:#.*\n)*", "", text))]


def _header(text: str) -> str:
    """Return the comment that a config begins with, without Hydra's directives."""
    return re.sub(r"^# ?(@.*\n)?", "", _header_lines(text), flags=re.MULTILINE)


def _own_keys(text: str) -> str:
    """Return a config's lines without its header and without ``NOT_SHOWN``."""
    blocks = re.split(r"^(?=\w+:|#)", text.removeprefix(_header_lines(text)), flags=re.MULTILINE)
    shown = (block for block in blocks if block.partition(":")[0] not in NOT_SHOWN)
    return re.sub(r"\n\s*\n", "\n", "".join(shown)).lstrip("\n")


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
