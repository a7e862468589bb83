"""The command line before Hydra reads it: text is quoted, paths are expanded, keys that no config has are refused."""

import difflib
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from litepose_ofa.scripts.settings.kinds import is_path, is_text, is_text_list
from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.validation import Checked, leaf_keys

OPTIONS_WITH_VALUES = frozenset(
    {
        *("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"),
        *("-e", "--experimental-rerun", "-i", "--info", "-sc", "--shell-completion"),
    }
)
SEARCH_PATH = "hydra.searchpath"
SWEEP_FLAGS = frozenset({"-m", "--multirun"})
SWEEP_FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag)\(.*\)", re.DOTALL)

USUAL_NAMES = {
    "lr": "training.learning_rate.peak",
    "learning_rate": "training.learning_rate.peak",
    "epoch": "training.epochs",
    "batch": "training.batch_size",
    "iterations": "training.steps",
    "max_steps": "training.steps",
    "gpu": "accelerator",
    "gpus": "accelerator",
    "cuda": "accelerator",
    "device": "accelerator",
    "num_workers": "training.workers",
    "data": "data_root",
    "checkpoint": "weights",
    "resume": "workspace",
    "out": "output",
    "output_dir": "workspace",
    "dir": "workspace",
}
"""What others call a key of ours."""

_OVERRIDE = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[^=]+?)(?P<value>=.*)?", re.DOTALL)


@dataclass(frozen=True)
class Keys:
    """The keys that a verb knows.

    Attributes:
        model: The model of its config.
        groups: Config groups that it composes, such as ``device``.
    """

    model: type[Checked]
    groups: Collection[str]

    def annotation(self, key: str) -> Any:
        """Return the annotation of a dotted key that holds a value; None if there is no such key."""
        return next((hint for known, hint in leaf_keys(self.model) if _fits(known, key)), None)

    def holds(self, key: str) -> bool:
        """Say whether a dotted key is a value's, or that of a mapping of some."""
        return any(_fits(known, key) or _fits(known, key, whole=False) for known, _ in leaf_keys(self.model))

    def refusal(self, key: str) -> str:
        """Return one line for a key that there is not, with the nearest that there is."""
        near = " or ".join(self._near(key))
        return f"unknown key {key}; {f'did you mean {near}? ' if near else ''}--cfg job shows all keys"

    def _near(self, key: str) -> Iterator[str]:
        known = sorted((name for name, _ in leaf_keys(self.model)), key=lambda name: "*" in name)
        leaf = key.rpartition(".")[2]
        usual = USUAL_NAMES.get(key)
        same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
        starts = [name for name in known if name.rpartition(".")[2].startswith(leaf) and len(leaf) > 2]
        by_key = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
        leaves = {name.rpartition(".")[2]: name for name in known}
        by_leaf = [leaves[name] for name in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7)]
        if usual in known:
            yield str(usual)
            return
        found = same_leaf or by_key or starts or by_leaf
        yield from [name for name in found if "*" not in name][:2] or found[:2]


def _fits(known: str, key: str, *, whole: bool = True) -> bool:
    """Say whether a known key, ``*`` in it for any name, is this key, or else lies below it."""
    parts, given = known.split("."), key.split(".")
    lengths = len(parts) == len(given) if whole else len(parts) > len(given)
    return lengths and all(part in ("*", own) for part, own in zip(parts, given, strict=False))


def prepare(arguments: Sequence[str], keys: Keys, shipped: Path) -> list[str]:
    """Return a command line for Hydra: options first, then overrides whose text survives its grammar and YAML.

    Args:
        arguments: As typed, without the command and the verb.
        keys: What the verb knows.
        shipped: The folder of the shipped configs; that of ``--config-dir`` is looked into as well.

    Raises:
        InputError: If an argument is no override, or its key is none of the verb's; the nearest key is named.
    """
    options, overrides = _parted(arguments)
    sweeps = bool(SWEEP_FLAGS & set(options))
    folders = [shipped, *(Path(value) for name, value in _pairs(options) if name in ("-cd", "--config-dir"))]
    if any(SEARCH_PATH in override for override in overrides):
        folders = []  # others that Hydra alone can list
    return [*options, *(_prepared(override, keys, folders, sweeps=sweeps) for override in overrides)]


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    options: list[str] = []
    overrides: list[str] = []
    takes_value = False
    for argument in arguments:
        is_option = takes_value or argument.startswith("-")
        (options if is_option else overrides).append(argument)
        takes_value = not takes_value and argument in OPTIONS_WITH_VALUES
    return options, overrides


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, option in enumerate(options):
        name, has_value, value = option.partition("=")
        yield name, value if has_value else "".join(options[index + 1 : index + 2])


def _prepared(override: str, keys: Keys, folders: Sequence[Path], *, sweeps: bool) -> str:
    match = _OVERRIDE.fullmatch(override)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        raise InputError(f"{override}: not of the form key=value; litepose VERB --help shows the keys")
    sign, key, value = match["sign"] or "", match["key"], match["value"]
    if key.split(".")[0].split("/")[0] == "hydra" or "@" in key:
        return override
    if key in keys.groups:
        _require_option(key, (value or "=")[1:], folders)
    elif not keys.holds(key):
        if any((folder / key).is_dir() for folder in folders[1:]):
            return override
        raise InputError(keys.refusal(key))
    elif value is not None:
        override = f"{sign}{key}={_quoted(key, value[1:], keys.annotation(key), sweeps=sweeps)}"
    return _require_readable(override)


def _require_option(group: str, option: str, folders: Sequence[Path]) -> None:
    """Refuse an option that a group does not have; what is more than a plain name is Hydra's to read."""
    places = [folder / group for folder in folders if (folder / group).is_dir()]
    known = sorted({path.stem for place in places for path in place.glob("*.yaml")})
    if option[:1] in ("", "[", "{") or (known and re.fullmatch(r"\w+", option) and option not in known):
        hint = f"; to compute on it: accelerator={option}" if option in ("cpu", "cuda") else ""
        raise InputError(f"{group} is {shown(option)}; it must be one of {', '.join(known)}{hint}")


def _quoted(key: str, value: str, annotation: Any, *, sweeps: bool) -> str:
    """Return a value as Hydra's grammar reads it back, text as text."""
    if sweeps and SWEEP_FUNCTION.fullmatch(value):
        return value
    items = _items(value)
    if len(items) > 1 and not sweeps and not is_path(annotation):
        raise InputError(f"{key}={value}: several values are a sweep, which needs -m; else put the value in quotes")
    if is_text_list(annotation) and value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quoted_text(item.strip(), annotation) for item in _items(value[1:-1]))}]"
    if not is_text(annotation) and not is_text_list(annotation):
        return value
    return ",".join(_quoted_text(item, annotation) for item in (items if sweeps else [value]))


def _items(value: str) -> list[str]:
    """Return the parts between the commas that are outside of quotes and brackets; none of an empty text."""
    items, depth, quote = [""], 0, ""
    for before, character in itertools.pairwise(f" {value}"):
        if quote:
            quote = "" if character == quote and before != "\\" else quote
        elif character in "'\"" and not items[-1].strip(" [{("):
            quote = character
        else:
            depth += (character in "[{(") - (character in "]})")
        if character == "," and depth <= 0 and not quote:
            items.append("")
        else:
            items[-1] += character
    return items if value else []


def _quoted_text(text: str, annotation: Any) -> str:
    """Return a text as it is where Hydra reads it so, else in quotes."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    is_container = (text[:1], text[-1:]) in (("[", "]"), ("{", "}"))
    if is_quoted or is_container or text in ("", "null"):
        return text
    if is_path(annotation) and (text == "~" or text.startswith("~/")):
        text = str(Path(text).expanduser())
    override = _parsed(f"key={text}")
    is_read_as_it_is = override is not None and not override.is_sweep_override() and override.value() == text
    return text if is_read_as_it_is else QuotedString(text, Quote.single).with_quotes()


def _require_readable(override: str) -> str:
    if _parsed(override) is None:
        advice = "a value of other characters than letters, digits and -_./:%+@ goes into quotes, twice"
        raise InputError(f"{override}: cannot be read; {advice}: 'key=\"value\"'")
    return override


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None
