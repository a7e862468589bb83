"""Models of config groups from the library's own settings: their fields, types and defaults are said there."""

import dataclasses
import functools
import operator
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import Strict, create_model

from litepose_ofa.scripts.settings.kinds import OneOrSeveral
from litepose_ofa.supernet.validation import Checked, Integer


def fields_of(*classes: type, without: tuple[str, ...] = (), **own: Any) -> type[Checked]:
    """Return the model of a mapping with the fields of dataclasses; lists serve for tuples.

    A field that has a default may be left out, and then is: what uses the mapping knows the default.

    Args:
        classes: The dataclasses.
        without: Fields that the mapping does not have.
        own: Annotations of further fields, or other ones for the dataclasses' fields.
    """
    fields: dict[str, Any] = {}
    optional: set[str] = set()
    for cls in classes:
        hints = get_type_hints(cls, include_extras=True)
        for field in dataclasses.fields(cls):
            if field.init and field.name not in (*without, *own):
                fields[field.name] = (_as_configured(hints[field.name]), None if _has_default(field) else ...)
            elif _has_default(field):
                optional.add(field.name)
    fields |= {name: (annotation, None if name in optional else ...) for name, annotation in own.items()}
    return create_model(classes[0].__name__, __base__=Checked, **fields)


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


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
