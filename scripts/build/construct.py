"""Settings objects from config values, checked against the types of their fields."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from litepose_ofa.supernet.errors import InputError

T = TypeVar("T")


def construct(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a dataclass; lists become tuples, and integers serve as floats.

    Args:
        cls: The dataclass.
        values: Its fields by name; those with defaults may lack.
        where: The config key of ``values``, for messages.

    Raises:
        InputError: If a key is unknown or missing, or a value has another type than the field or is out of its range.

    Example:
        >>> from litepose_ofa.supernet.data.loading import Augmentation
        >>> construct(Augmentation, {"scale": [1, 1.5]}, "training.augmentation").scale
        (1, 1.5)
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise InputError(f"unknown setting {where}.{key}; known: {', '.join(fields)}")
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}.{name} is missing")
    converted = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in values.items()}
    try:
        return cls(**converted)
    except InputError as error:
        raise InputError(f"{where}.{error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        told = fault["ctx"]["error"] if fault["type"] == "value_error" else f"{name}: {fault['msg']}"
        raise InputError(f"{where}.{told}") from None


def _convert(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if isinstance(value, list | tuple):
            if parts[-1] is Ellipsis:
                parts = (parts[0],) * len(value)
            if len(value) == len(parts):
                return tuple(_convert(item, part, where) for item, part in zip(value, parts, strict=True))
    elif _matches(value, hint):
        return value
    raise InputError(f"{where} is {value!r}; it must be {_described(hint)}")


def _matches(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_matches(value, part) for part in get_args(hint))
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, typing.cast(type, origin or hint))


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        what = {"int": "integers", "float": "numbers"}.get(getattr(parts[0], "__name__", ""), "values")
        return f"a list of {what}" if parts[-1] is Ellipsis else f"a list of {len(parts)} {what}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}.get(hint, str(hint))
