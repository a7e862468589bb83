"""Kinds of values that configs hold beside numbers, and models of groups from the library's own settings."""

import dataclasses
import functools
import operator
import os
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, Strict, create_model

from litepose_ofa.search.workspace import NAME_WORDS, PATH_WORDS, is_folder_name, is_path_text
from litepose_ofa.supernet.validation import Allowed, Checked, Integer


def _refuse_unless(is_allowed: Callable[[str], bool]) -> AfterValidator:
    def check(value: str) -> str:
        if not is_allowed(value):
            raise ValueError("not allowed")
        return value

    return AfterValidator(check)


_INTEGER_AS_TEXT = BeforeValidator(lambda value: str(value) if type(value) is int else value)
"""As of a folder ``2024`` in a file; other numbers have lost their spelling."""

NotEmpty = _refuse_unless(is_path_text)
Text = Annotated[str, _INTEGER_AS_TEXT, Allowed("a text; in a file, put it in quotes")]
Name = Annotated[str, _INTEGER_AS_TEXT, _refuse_unless(is_folder_name), Allowed(NAME_WORDS)]
PathText = Annotated[str, _INTEGER_AS_TEXT, NotEmpty, Allowed(PATH_WORDS)]
Choice = Annotated[str, Allowed("a name")]
"""A name whose choices the code that uses it knows and tells."""

OneOrSeveral = BeforeValidator(lambda value: [value] if type(value) in (str, int, float) else value)
"""One value stands for a list of it."""

MOST_WORKERS = max(32, 4 * (os.cpu_count() or 1))
_MACHINE = f"this machine has {os.cpu_count()} cores"
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS), Allowed(f"an integer from 0 to {MOST_WORKERS} ({_MACHINE})")]
SomeWorkers = Annotated[int, Field(ge=1, le=MOST_WORKERS), Allowed(f"an integer from 1 to {MOST_WORKERS} ({_MACHINE})")]


def fields_of(*classes: type, without: tuple[str, ...] = (), **own: Any) -> type[Checked]:
    """Return the model of a mapping with the fields of dataclasses; lists serve for tuples.

    A field that has a default may be left out, and then is: what uses the mapping knows the default. ``own`` are
    annotations of further fields, or other ones for the dataclasses' fields.
    """
    fields: dict[str, Any] = {}
    for cls in classes:
        hints = get_type_hints(cls, include_extras=True)
        for field in dataclasses.fields(cls):
            if field.init and field.name not in without:
                is_required = field.default is field.default_factory is dataclasses.MISSING
                annotation = own.get(field.name, _as_configured(hints[field.name]))
                fields[field.name] = (annotation, ... if is_required else None)
    fields |= {name: (annotation, ...) for name, annotation in own.items() if name not in fields}
    return create_model(classes[0].__name__, __base__=Checked, **fields)


def _as_configured(hint: Any) -> Any:
    """Return the annotation of what a config holds for a field: mappings for dataclasses, lists for tuples."""
    if hint is int:
        return Integer
    if get_origin(hint) in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(_as_configured, get_args(hint)))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return fields_of(hint)
    if get_origin(hint) is tuple:
        parts = tuple(part if part is Ellipsis else _as_configured(part) for part in get_args(hint))
        listed = Annotated[tuple[parts], Strict(False)]  # type: ignore[valid-type]
        return Annotated[listed, OneOrSeveral] if parts[-1] is Ellipsis else listed
    return hint
