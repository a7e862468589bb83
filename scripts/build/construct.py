"""Settings from config values; ``validate`` does it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from litepose_ofa.supernet.validation import validate

T = TypeVar("T")


def construct(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Return the settings of a config key."""
    return validate(cls, values, key=where)
