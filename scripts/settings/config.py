"""The composed config, checked against its verb's model before the verb begins."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from litepose_ofa import conf
from litepose_ofa.scripts.settings.overrides import Keys
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_yaml
from litepose_ofa.supernet.validation import dotted, fields_by_name, validate

_OF_RESOLVER = re.compile(r"InputError raised while resolving interpolation: (.*?)(?:\s+full_key:|$)", re.DOTALL)
"""What OmegaConf makes of an ``InputError`` in a resolver of ours."""
_OF_MISSING = re.compile(r".*Missing mandatory value: (\S+)", re.DOTALL)


def checked_config(cfg: DictConfig, keys: Keys, *, experiment: str | None = None) -> DictConfig:
    """Return the config with all interpolations resolved, and its values as the verb's model has them.

    Args:
        cfg: The composed config.
        keys: The keys of the verb.
        experiment: The chosen experiment, if any: it may hold keys of other verbs, which are left out.

    Raises:
        InputError: If a key is unknown or missing, or a value is not allowed; the line names the key.
    """
    written = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(written, dict)
    others = set() if experiment is None else _keys_of_all_verbs() - fields_by_name(keys.model).keys()
    kept = [str(key) for key in written if key not in others]
    cfg = OmegaConf.masked_copy(cfg, kept)
    missing = [key for key in kept if written[key] == "???"]
    if missing:
        raise InputError(f"{missing[0]} is missing; give {'=... '.join(missing)}=...")
    try:
        given = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(plain_words(error)) from None
    for path in _paths(given):
        if not keys.holds(path):
            raise InputError(keys.refusal(path))
    config = literal_config(_kept(given, validate(keys.model, given).model_dump()))
    OmegaConf.set_struct(config, True)
    return config


def literal_config(values: Mapping[str, Any]) -> DictConfig:
    """Return a config whose texts mean themselves: a record's ``${oc.env:TOKEN}`` reads nothing of the environment."""
    config: DictConfig = OmegaConf.create(_escaped(dict(values)))
    return config


def plain_words(error: Exception) -> str:
    """Return what an error of OmegaConf's is about, without its words for where it was found."""
    text = str(error)
    refused, missing = _OF_RESOLVER.match(text), _OF_MISSING.match(text)
    if missing is not None:
        return f"{missing[1]} is missing; give {missing[1]}=..."
    return text.partition("\n    full_key:")[0] if refused is None else refused[1]


def _keys_of_all_verbs() -> set[str]:
    """Return the top-level keys and groups of all shipped configs."""
    files = Path(conf.__file__).parent.glob("*.yaml")
    groups = {path.name for path in Path(conf.__file__).parent.iterdir() if path.is_dir()}
    return {str(key) for path in files for key in read_yaml(path)}.union(groups) - {"defaults", "hydra"}


def _paths(value: Any, path: tuple[int | str, ...] = ()) -> list[str]:
    """Return the dotted keys of what a mapping holds, at every level."""
    if not isinstance(value, Mapping):
        return []
    found = []
    for key, item in value.items():
        found += [dotted((*path, str(key))), *_paths(item, (*path, str(key)))]
    return found


def _kept(given: Any, checked: Any) -> Any:
    """Return checked values of given keys, but the given ones where they are equal: 1 stays 1 as a float."""
    if isinstance(given, Mapping) and isinstance(checked, Mapping):
        return {str(key): _kept(value, checked[str(key)]) for key, value in given.items()}
    if isinstance(checked, list | tuple) and isinstance(given, list) and len(given) == len(checked):
        return [_kept(old, new) for old, new in zip(given, checked, strict=True)]
    return given if given == checked and type(given) is not bool else checked


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value
