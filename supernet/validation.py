"""Values from outside checked against a declared type: the one place where pydantic's errors become ours."""

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from supernet.errors import InputError, shown

T = TypeVar("T")


_adapter: Any = cache(TypeAdapter)


def validate(kind: type[T], value: object, where: str) -> T:
    """Return a value as a type declares it.

    Args:
        kind: A pydantic model, or any type that pydantic knows.
        value: Plain values, as JSON or YAML gives them.
        where: What holds the value, such as the path of its file.

    Raises:
        InputError: If it is anything else; the message names the first wrong field, dotted, and its value.
    """
    try:
        checked: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].partition(" or instance of ")[0]  # a class of ours, which says nothing to a user
        problem = message[:1].lower() + message[1:]
        told = "" if first["type"] == "missing" else f" (it is {shown(first['input'])})"
        raise InputError(f"{where}: {field + ': ' if field else ''}{problem}{told}") from None
    return checked
