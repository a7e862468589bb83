"""The command line before Hydra reads it: keys that no config has are refused, and text stays text."""

import difflib
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from litepose_ofa.search.workspace import PATH_WORDS
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import Checked, bare_type, branches, leaf_keys, words_of

OPTIONS_WITH_VALUES = (
    *("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir"),
    *("-e", "--experimental-rerun", "-i", "--info", "-sc", "--shell-completion"),
)
SWEEP_FLAGS = frozenset({"-m", "--multirun"})
SWEEP_FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag)\(.*\)", re.DOTALL)

USUAL_NAMES = {
    **dict.fromkeys(("lr", "learning_rate"), "training.learning_rate.peak"),
    **dict.fromkeys(("iterations", "max_steps"), "training.steps"),
    **dict.fromkeys(("gpu", "gpus", "cuda", "device"), "accelerator"),
    **dict.fromkeys(("resume", "output_dir", "dir"), "workspace"),
    "batch": "training.batch_size",
    "data": "data_root",
    "checkpoint": "weights",
    "out": "output",
}
"""What others call a key of ours."""

_OVERRIDE = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[^=]+?)(?P<value>=.*)?", re.DOTALL)


@dataclass(frozen=True)
class Keys:
    """The keys that a verb knows: those of its config's model, and the config groups that it composes."""

    model: type[Checked]
    groups: Collection[str]
    takes_workspace: bool = False  # a folder that stands alone is the workspace

    @cached_property
    def leaves(self) -> dict[str, Any]:
        """The annotations of values by their dotted keys, in which ``*`` stands for any name."""
        return dict(leaf_keys(self.model))

    def annotation(self, key: str) -> Any:
        """Return the annotation of a dotted key that holds a value; None if there is no such key."""
        return next((hint for known, hint in self.leaves.items() if _fits(known.split("."), key.split("."))), None)

    def holds(self, key: str) -> bool:
        """Say whether a dotted key is that of a value, or of a mapping of some."""
        parts = key.split(".")
        return any(_fits(known.split(".")[: len(parts)], parts) for known in self.leaves)

    def refusal(self, key: str) -> str:
        """Return one line for an unknown key, with the nearest that are known."""
        near = " or ".join(self._near(key)[:2])
        return f"unknown key {key}; {f'did you mean {near}? ' if near else ''}--cfg job shows all keys"

    def _near(self, key: str) -> list[str]:
        if USUAL_NAMES.get(key) in self.leaves:
            return [USUAL_NAMES[key]]
        by_leaf: dict[str, list[str]] = {}
        whole = [name for name in self.leaves if "*" not in name]
        for name in whole:
            by_leaf.setdefault(name.rpartition(".")[2], []).append(name)
        leaf = key.rpartition(".")[2]
        close = difflib.get_close_matches(key, whole, n=1, cutoff=0.7)
        close_leaf = [by_leaf[name][0] for name in difflib.get_close_matches(leaf, by_leaf, n=1, cutoff=0.7)]
        return by_leaf.get(leaf) or close or close_leaf


def _fits(known: Sequence[str], given: Sequence[str]) -> bool:
    return len(known) == len(given) and all(part in ("*", own) for part, own in zip(known, given, strict=True))


def prepare(arguments: Sequence[str], keys: Keys) -> list[str]:
    """Return a command line for Hydra: options first, then overrides whose text survives its grammar and YAML.

    Raises:
        InputError: If an argument is not an override, or its key is not one of the verb's; the nearest key is named.
    """
    options: list[str] = []
    overrides: list[str] = []
    for before, argument in itertools.pairwise(("", *arguments)):
        is_option = argument.startswith("-") or (before in OPTIONS_WITH_VALUES and before in options[-1:])
        (options if is_option else overrides).append(argument)
    sweeps = bool(SWEEP_FLAGS & set(options))
    return [*options, *(_prepared(override, keys, sweeps=sweeps) for override in overrides)]


def _prepared(override: str, keys: Keys, *, sweeps: bool) -> str:
    if keys.takes_workspace and "=" not in override and not override.startswith("~"):
        if not Path(override).is_dir():
            raise InputError(f"{override}: no such folder; give the workspace of a search: runs/tiny-people")
        override = f"workspace={override}"
    match = _OVERRIDE.fullmatch(override)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        raise InputError(f"{override}: not of the form key=value; litepose VERB --help shows the keys")
    sign, key, value = match["sign"] or "", match["key"], match["value"]
    if re.split(r"[./]", key)[0] == "hydra" or "@" in key:
        return override
    if key in keys.groups:
        if value is not None and (value[1:2] in ("", "[", "{") or value == "=null"):
            raise InputError(f"{key} is {value[1:]!r}; it must be the name of an option, as --help lists them")
    else:
        if not keys.holds(key):
            raise InputError(keys.refusal(key))
        if value is not None:
            override = f"{sign}{key}={_quoted(key, value[1:], keys.annotation(key), sweeps=sweeps)}"
    if _parsed(override) is None:
        advice = "a value of other characters than letters, digits and -_./:%+@ goes into quotes, twice"
        raise InputError(f"{override}: cannot be read; {advice}: 'key=\"value\"'")
    return override


def _quoted(key: str, value: str, annotation: Any, *, sweeps: bool) -> str:
    """Return a value as Hydra's grammar reads it back, text as text."""
    if sweeps and SWEEP_FUNCTION.fullmatch(value):
        return value
    items = _items(value)
    if len(items) > 1 and not sweeps and not _is_path(annotation):
        raise InputError(f"{key}={value}: several values are a sweep, which needs -m; else put the value in quotes")
    if _text_of_list(annotation) and value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quoted_text(item.strip(), annotation) for item in _items(value[1:-1]))}]"
    if not _is_text(annotation) and not _text_of_list(annotation):
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
    if _is_path(annotation) and (text == "~" or text.startswith("~/")):
        text = str(Path(text).expanduser())
    override = _parsed(f"key={text}")
    is_read_as_it_is = override is not None and not override.is_sweep_override() and override.value() == text
    return text if is_read_as_it_is else QuotedString(text, Quote.single).with_quotes()


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _is_text(annotation: Any) -> bool:
    """Say whether a value that is not a mapping or a list is text there, whatever YAML would make of it."""
    bare = [bare_type(part) for part in branches(annotation) if part is not type(None)]
    scalars = [part for part in bare if get_origin(part) not in (list, dict, tuple)]
    return bool(scalars) and all(part is str or isinstance(next(iter(get_args(part)), None), str) for part in scalars)


def _text_of_list(annotation: Any) -> Any:
    """Return the annotation of the texts in a list of them; None if it is not of one."""
    lists = [part for part in map(bare_type, branches(annotation)) if get_origin(part) is list]
    entry = get_args(lists[0])[0] if lists else None
    return entry if lists and _is_text(entry) else None


def _is_path(annotation: Any) -> bool:
    """Say whether a field holds a path, or a list of them."""
    return any(words_of(part) == PATH_WORDS for part in branches(_text_of_list(annotation) or annotation))
