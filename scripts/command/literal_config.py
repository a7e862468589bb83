"""Configs of values that a record or another process has resolved: nothing in them is resolved again."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf


def literal_config(values: Mapping[str, Any]) -> DictConfig:
    """Return a config whose texts mean themselves: a record's ``${oc.env:TOKEN}`` reads nothing of the environment."""
    config: DictConfig = OmegaConf.create(_escaped(dict(values)))
    return config


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list | tuple) else value
