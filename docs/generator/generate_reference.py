"""Writes the reference of commands and config groups, ``docs/reference``, from the verbs and the configs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent

from config_files import Key, read_config

from litepose_ofa import conf
from litepose_ofa.scripts.command.table import SECTIONS, module_name
from litepose_ofa.scripts.verbs.completion import ARGUMENTS
from litepose_ofa.supernet.files import write_text

CONFIGS = Path(conf.__file__).parent
FOLDER = Path(__file__).parents[1] / "reference"
BASE = "base"
SPACE = "${space}"
GIVEN = "???"
"""The default of a key that has none; of one in ``base``, every command's own config gives it."""

COMMANDS_HEAD = """\
# Commands

A command is `litepose VERB key=value ...`. A key is written as the tables show it, dotted where it lies inside of
another; `???` has to be given. `group=option` chooses a file of a [config group](groups.md), and `group.key=value`
changes one of its keys. `-m` runs every combination of values that are separated by commas; `--cfg job` prints the
config and runs nothing.
"""

GROUPS_HEAD = """\
# Config groups

`group=option` chooses an option, `group.key=value` changes a key of it. A file of your own below a folder that
`--config-dir FOLDER` names, `FOLDER/<group>/<option>.yaml`, is an option more.
"""


def commands_page() -> str:
    """Return the page of all commands."""
    base = read_config(CONFIGS / f"{BASE}.yaml")
    shared = _table(key for key in base.keys if key.default != GIVEN)
    parts = [COMMANDS_HEAD.strip(), "## Keys of every command", base.head, shared, _group_list(base.groups)]
    for title, verbs in SECTIONS.items():
        parts.append(f"## {title}")
        parts += [part for verb, line in verbs.items() for part in _command(verb, line)]
    return _joined(parts)


def groups_page() -> str:
    """Return the page of all config groups."""
    folders = sorted(path for path in CONFIGS.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
    parts = [GROUPS_HEAD.strip()]
    for folder in folders:
        parts.append(f"## {folder.name}")
        parts += [part for path in sorted(folder.glob("*.yaml")) for part in _option(path)]
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(filter(None, parts)) + "\n"


def _command(verb: str, line: str) -> Iterator[str]:
    yield f"### litepose {verb}"
    yield f"{line[0].upper()}{line[1:]}{'' if line.endswith('?') else '.'}"
    path = CONFIGS / f"{module_name(verb)}.yaml"
    if not path.exists():
        arguments = ", ".join(f"`{argument}`" for argument in ARGUMENTS[verb])
        yield f"Takes {arguments}; `litepose {verb} --help` says more."
        return
    config = read_config(path)
    head, _, examples = config.head.partition("\n\nExamples:\n")
    examples, _, page = examples.partition("\nRead on: docs/")
    yield f"```text\n{head}\n```"
    yield _table(config.keys)
    yield _group_list(config.groups)
    yield f"```bash\n{dedent(examples)}\n```"
    yield f"More: [{page}](../{page})."


def _option(path: Path) -> Iterator[str]:
    config = read_config(path)
    yield f"### {path.parent.name}={path.stem}"
    if config.head:
        yield " ".join(config.head.split())
    if config.builds_on:
        options = ", ".join(f"`{path.parent.name}={name}`" for name in config.builds_on)
        yield f"As {options}{', but:' if config.keys else '.'}"
    if config.keys:
        yield _table(config.keys)


def _group_list(groups: dict[str, object]) -> str:
    """Return the groups with their options, the default in bold."""
    return "\n".join(f"- {_group(name, default)}" for name, default in groups.items())


def _group(name: str, default: object) -> str:
    options = sorted(path.stem for path in (CONFIGS / name).glob("*.yaml"))
    shown = ", ".join(f"**`{option}`**" if option == default else f"`{option}`" for option in options)
    return f"[`{name}`](groups.md#{name}): {shown}" + (" (as `space`, or `litepose`)" if default == SPACE else "")


def _table(keys: Iterable[Key]) -> str:
    rows = ["| key | default | |", "|---|---|---|"]
    for key in keys:
        if key.heading:
            rows.append(f"| | | *{_cell(key.heading)}* |")
        default = "" if key.default is None else f"`{_cell(key.default)}`"
        rows.append(f"| `{key.name}` | {default} | {_cell(key.comment)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def pages() -> dict[Path, str]:
    """Return the text of each generated page by its file."""
    return {FOLDER / "commands.md": commands_page(), FOLDER / "groups.md": groups_page()}


if __name__ == "__main__":
    for file, text in pages().items():
        write_text(file, text)
