"""The composed config, checked against its verb's model before the verb begins."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from litepose_ofa import conf
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import read_yaml
from litepose_ofa.supernet.validation import Checked, fields_by_name, validate

_OF_RESOLVER = re.compile(r"InputError raised while resolving interpolation: (.*?)(?:\s+full_key:|$)", re.DOTALL)
"""What OmegaConf makes of an ``InputError`` in a resolver of ours."""
_OF_MISSING = re.compile(r".*Missing mandatory value: (\S+)", re.DOTALL)


def checked_config(cfg: DictConfig, model: type[Checked], *, experiment: str | None = None) -> DictConfig:
    """Return the config with all interpolations resolved, and its values as the verb's model has them.

    An ``experiment`` may hold keys of other verbs, which are left out.

    Raises:
        InputError: If a key is unknown or missing, or a value is not allowed; the line names the key.
    """
    written = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(written, dict)
    others = set() if experiment is None else _keys_of_all_verbs() - fields_by_name(model).keys()
    kept = [str(key) for key in written if key not in others]
    cfg = OmegaConf.masked_copy(cfg, kept)
    missing = [key for key in kept if written[key] == "???"]
    if missing:
        raise InputError(f"{missing[0]} is missing; give {'=... '.join(missing)}=...")
    try:
        given = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(plain_words(error)) from None
    config = literal_config(_kept(given, validate(model, given).model_dump()))
    OmegaConf.set_struct(config, True)
    return config


def literal_config(values: Mapping[str, Any]) -> DictConfig:
    """Return a config whose texts mean themselves: a record's ``${oc.env:TOKEN}`` reads nothing of the environment."""
    config: DictConfig = OmegaConf.create(_escaped(dict(values)))
    return config


def plain_words(error: Exception) -> str:
    """Return what an error of OmegaConf's is about, without its words for where it was found."""
    text = str(error)
    if missing := _OF_MISSING.match(text):
        return f"{missing[1]} is missing; give {missing[1]}=..."
    refused = _OF_RESOLVER.match(text)
    return refused[1] if refused else text.partition("\n    full_key:")[0]


def _keys_of_all_verbs() -> set[str]:
    """Return the top-level keys and groups of all shipped configs."""
    folder = Path(conf.__file__).parent
    keys = {key for path in folder.glob("*.yaml") for key in read_yaml(path)} - {"defaults", "hydra"}
    return keys | {path.name for path in folder.iterdir() if path.is_dir()}


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
