"""Values from outside, checked against declared models: what is wrong is told in one line that names the field.

A model says in its annotations what is allowed; the line is made of them, not of pydantic's own words.
"""

import functools
import operator
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from dataclasses import field as dataclass_field
from typing import Annotated, Any, Literal, TypeVar, Union, cast, dataclass_transform, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from litepose_ofa.supernet.errors import InputError, shown

T = TypeVar("T")

LARGEST_INTEGER = 2**63 - 1

_EXTRA = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a key too many, of a model and of a dataclass."""

_NOUNS = frozenset({"integer", "name", "number", "path", "text"})


class Checked(BaseModel):
    """A mapping whose keys are its fields and no others; nothing is converted, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclass_field,))
def settings(cls: type[T]) -> type[T]:
    """Make a frozen dataclass of settings whose annotations say what is allowed.

    Built with anything else it raises pydantic's ``ValidationError``, a ``ValueError``. Nothing is converted, but lists
    serve for tuples and mappings for settings within.
    """
    cls.__annotations__ = {name: _strict(hint) for name, hint in cls.__annotations__.items()}
    checked: Any = checked_dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
    return cast(type[T], checked(cls))


def _strict(hint: Any) -> Any:
    """Return an annotation under which no scalar is converted."""
    if get_origin(hint) in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(_strict, get_args(hint)))
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        return Annotated[(_strict(inner), *metadata)]
    if get_origin(hint) is tuple:
        return tuple[tuple(part if part is Ellipsis else _strict(part) for part in get_args(hint))]  # type: ignore[misc]
    return Annotated[hint, Strict()] if hint in (bool, int, float, str) else hint


@dataclass(frozen=True, slots=True)
class Allowed:
    """Says in words what an annotated type allows, where its parts do not say it."""

    words: str


Integer = Annotated[int, Field(ge=-LARGEST_INTEGER - 1, le=LARGEST_INTEGER)]
"""An integer of 64 bits."""
Whole = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Count = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(pattern=r"\S"), Allowed("a text")]
Pair = Annotated[tuple[float, float], Strict(False)]


def validate(model: type[T], value: object, where: str = "", *, key: str = "") -> T:
    """Return plain dicts, lists and scalars as their model.

    Args:
        model: A ``Checked``, or a dataclass of ``settings``.
        value: What is to be one.
        where: The file of ``value``, or another place that the message begins with.
        key: The config key of ``value``; its own keys are told with this before them.

    Raises:
        InputError: If it is something else; the line names the first field that is wrong, and what is allowed there.
    """
    try:
        checked: T = _adapter(model).validate_python(value)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InputError(f"{where}{': ' if where else ''}{first_fault(error, model, value, key)}") from None
    return checked


@functools.cache
def _adapter(model: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def first_fault(error: ValidationError, model: type[Any], value: object, key: str = "") -> str:
    """Return one line of what is wrong: an unknown or missing key, or else a value and what is allowed in its place."""
    faults = [(_Place.find(model, value, fault["loc"]), fault) for fault in error.errors(include_url=False)]
    place, fault = min(faults, key=lambda found: (found[1]["type"] not in _EXTRA, -len(found[0].path)))
    above = (key,) if key else ()
    name = dotted((*above, *place.path))
    if fault["type"] in _EXTRA:
        keys = _known_keys(_Place.find(model, value, fault["loc"][:-1]).annotation)
        return f"unknown key {name}; the keys are {', '.join(keys)}"
    if fault["type"] == "missing" and not isinstance(fault["loc"][-1], int):
        return f"{dotted((*above, *place.path, fault['loc'][-1]))} is missing"
    if fault["type"] == "value_error" and not words_of(place.annotation):
        between = "" if not name else "." if is_dataclass(_model_of(place.annotation)) else ": "
        return f"{name}{between}{fault['ctx']['error']}"
    found = "null" if place.value is None else shown(place.value)
    return f"{name or 'it'} is {found}; it must be {allowed(place.annotation)}"


def dotted(path: tuple[int | str, ...]) -> str:
    """Return a path through mappings and lists as ``a.b[0].c``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _known_keys(annotation: Any) -> list[str]:
    """Return the keys of an annotated model."""
    model = _model_of(annotation)
    return [] if model is None else list(fields_by_name(model))


def fields_by_name(model: type[Any]) -> dict[str, Any]:
    """Return pydantic's descriptions of the fields of a model, or of a dataclass of ``settings``."""
    fields: dict[str, Any] = getattr(model, "__pydantic_fields__", {})
    return fields


def leaf_keys(model: type[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the annotation of every field that is not itself a model; any key is ``*``."""
    for name, field in fields_by_name(model).items():
        yield from _leaves(f"{prefix}{name}", _annotation(field))


def allowed(annotation: Any) -> str:
    """Return in words what an annotated type allows: "an integer of at least 1, or null"."""
    parts = [part for part in branches(annotation) if part is not type(None)]
    words = " or ".join(dict.fromkeys(_words(part) for part in parts))
    return words if len(parts) == len(branches(annotation)) else f"{words}, or null"


def branches(annotation: Any) -> tuple[Any, ...]:
    """Return the parts of a union, each with what annotates the whole."""
    if get_origin(annotation) is Annotated and not words_of(annotation):
        inner, *metadata = get_args(annotation)
        parts = branches(inner)
        return tuple(Annotated[(part, *metadata)] for part in parts) if len(parts) > 1 else (annotation,)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(branch for part in get_args(annotation) for branch in branches(part))
    return (annotation,)


def bare_type(annotation: Any) -> Any:
    """Return an annotation without what annotates it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def words_of(annotation: Any) -> str:
    """Return the words that an annotation says itself, or an empty text."""
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((part.words for part in metadata if isinstance(part, Allowed)), "")


def _annotation(field: Any) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _leaves(key: str, annotation: Any) -> Iterator[tuple[str, Any]]:
    model, values = _model_of(annotation), _values_of(annotation)
    if model is not None:
        yield from leaf_keys(model, f"{key}.")
    elif values is not None:
        yield from _leaves(f"{key}.*", values)
    if model is None or len(branches(annotation)) > 1:
        yield key, annotation


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in a value, as deep as its models and mappings go."""

    path: tuple[int | str, ...]
    value: Any
    annotation: Any

    @classmethod
    def find(cls, model: type[Any], value: Any, loc: tuple[int | str, ...]) -> "_Place":
        """Follow the location of an error; its parts that name a branch of a union are not keys of the value."""
        path: tuple[int | str, ...] = ()
        annotation: Any = model
        for part in loc:
            inner = _inner(annotation, part)
            if isinstance(value, Mapping | list | tuple) and inner is not None and _has(value, part):
                path, value, annotation = (*path, part), value[part], inner  # type: ignore[index]
        return cls(path, value, annotation)


def _has(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], part: int | str) -> bool:
    return part in value if isinstance(value, Mapping) else isinstance(part, int) and part < len(value)


def _inner(annotation: Any, part: int | str) -> Any:
    """Return the annotation of a key of an annotated mapping, or of an entry of a list of models; None if no such."""
    model, values = _model_of(annotation), _values_of(annotation)
    if model is not None and not isinstance(part, int):
        field = fields_by_name(model).get(part)
        return Any if field is None else _annotation(field)
    return values


def _model_of(annotation: Any) -> type[Any] | None:
    for branch in branches(annotation):
        bare = bare_type(branch)
        if isinstance(bare, type) and (is_dataclass(bare) or issubclass(bare, BaseModel)):
            return bare
    return None


def _values_of(annotation: Any) -> Any:
    """Return the annotation of a mapping's or a list's values, if it is one of models or mappings."""
    for branch in branches(annotation):
        bare = bare_type(branch)
        origin, arguments = get_origin(bare), get_args(bare)
        if origin in (dict, Mapping) or (origin in (list, tuple) and arguments and _model_of(arguments[0]) is not None):
            return arguments[-1] if origin in (dict, Mapping) else arguments[0]
    return None


def _words(annotation: Any) -> str:
    said = words_of(annotation)
    if said:
        return said
    bare, origin = bare_type(annotation), get_origin(bare_type(annotation))
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(bare)))}"
    if origin in (dict, Mapping) or _model_of(annotation) is not None:
        keys = _known_keys(annotation)
        return "a mapping" + (f" with the keys {', '.join(keys)}" if keys else "")
    if origin in (list, tuple):
        return _list_words(annotation)
    nouns = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    return f"{nouns.get(bare, 'a value')}{_range_words(annotation)}"


def _list_words(annotation: Any) -> str:
    bare = bare_type(annotation)
    parts = get_args(bare)
    of = _words(parts[0]).removeprefix("an ").removeprefix("a ")
    plural = f"{of.partition(' ')[0]}s{of[len(of.partition(' ')[0]) :]}" if of.partition(" ")[0] in _NOUNS else of
    if get_origin(bare) is tuple and parts[-1] is not Ellipsis:
        return f"a list of {len(parts)} {plural}"
    lengths = [part.min_length for part in _metadata(annotation) if isinstance(part, MinLen)]
    return f"a list of {f'at least {lengths[0]} ' if lengths else ''}{plural}"


def _metadata(annotation: Any) -> Iterator[Any]:
    while get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        for part in metadata:
            yield from part.metadata if hasattr(part, "metadata") else (part,)


def _range_words(annotation: Any) -> str:
    low = high = ""
    closed: dict[str, float] = {}
    for part in _metadata(annotation):
        match part:
            case Ge(ge=bound) if abs(bound) <= LARGEST_INTEGER:  # type: ignore[arg-type]
                low, closed["low"] = f" of at least {bound}", bound  # type: ignore[assignment]
            case Gt(gt=bound):
                low = f" above {bound}"
            case Le(le=bound) if bound != LARGEST_INTEGER:
                high, closed["high"] = f"at most {bound}", bound  # type: ignore[assignment]
            case Lt(lt=bound):
                high = f"below {bound}"
    if len(closed) == 2:
        return f" from {closed['low']} to {closed['high']}"
    return f"{low}{' and ' if low and high else ' ' if high else ''}{high}"
