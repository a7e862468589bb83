"""The composed config, checked against its verb's model before the verb begins."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import litepose_ofa.scripts.settings.resolvers  # noqa: F401 - registers them
from litepose_ofa.scripts.command.literal_config import literal_config
from litepose_ofa.scripts.settings.overrides import Keys
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import dotted, validate

_OF_RESOLVER = re.compile(r"InputError raised while resolving interpolation: (.*?)(?:\s+full_key:|$)", re.DOTALL)
"""What OmegaConf makes of an ``InputError`` in a resolver of ours."""
_OF_MISSING = re.compile(r".*Missing mandatory value: (\S+)", re.DOTALL)


def checked_config(cfg: DictConfig, keys: Keys) -> DictConfig:
    """Return the config with all interpolations resolved, and its values as the verb's model has them.

    Raises:
        InputError: If a key is unknown or missing, or a value is not allowed; the line names the key.
    """
    written = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(written, dict)
    missing = [str(key) for key, value in written.items() if value == "???"]
    if missing:
        raise InputError(f"{missing[0]} is missing; give {'=... '.join(missing)}=...")
    try:
        given = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(plain_words(error)) from None
    for path in _paths(given):
        if not keys.holds(path):
            raise InputError(keys.refusal(path))
    checked = validate(keys.model, given, "").model_dump(exclude_unset=True)
    config = literal_config(_kept(given, checked))
    OmegaConf.set_struct(config, True)
    return config


def plain_words(error: Exception) -> str:
    """Return what an error of OmegaConf's is about, without its words for where it was found."""
    text = str(error)
    refused, missing = _OF_RESOLVER.match(text), _OF_MISSING.match(text)
    if missing is not None:
        return f"{missing[1]} is missing; give {missing[1]}=..."
    return text.partition("\n    full_key:")[0] if refused is None else refused[1]


def _paths(value: Any, path: tuple[int | str, ...] = ()) -> list[str]:
    """Return the dotted keys of what a mapping holds, at every level."""
    if not isinstance(value, Mapping):
        return []
    found = []
    for key, item in value.items():
        found += [dotted((*path, str(key))), *_paths(item, (*path, str(key)))]
    return found


def _kept(given: Any, checked: Any) -> Any:
    """Return checked values, but the given ones where they are equal: 1 stays 1 where a float is allowed."""
    if isinstance(checked, Mapping):
        return {key: _kept(given[key], value) for key, value in checked.items()}
    if isinstance(checked, list | tuple) and isinstance(given, list) and len(given) == len(checked):
        return [_kept(old, new) for old, new in zip(given, checked, strict=True)]
    return given if given == checked and type(given) is not bool else checked
