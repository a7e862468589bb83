"""Kinds of values that configs hold beside numbers: text, names of folders, paths, numbers that a machine bounds."""

import os
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field

from litepose_ofa.search.workspace import NAME_WORDS, PATH_WORDS, is_folder_name, is_path_text
from litepose_ofa.supernet.validation import Allowed, bare_type, branches, words_of

LEAST_BOUND = 32
"""Processes or threads that any machine may be asked for."""


def _written(value: Any) -> Any:
    """Return the text of an integer, as of a folder ``2024`` in a file; other numbers have lost their spelling."""
    return str(value) if type(value) is int else value


def _refuse_unless(is_allowed: Callable[[str], bool]) -> AfterValidator:
    def check(value: str) -> str:
        if not is_allowed(value):
            raise ValueError("not allowed")
        return value

    return AfterValidator(check)


def _one_or_several(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value


_AS_WRITTEN = BeforeValidator(_written)

NotEmpty = _refuse_unless(is_path_text)
Text = Annotated[str, _AS_WRITTEN, Allowed("a text; in a file, put it in quotes")]
Name = Annotated[str, _AS_WRITTEN, _refuse_unless(is_folder_name), Allowed(NAME_WORDS)]
PathText = Annotated[str, _AS_WRITTEN, _refuse_unless(is_path_text), Allowed(PATH_WORDS)]
Choice = Annotated[str, Allowed("a name")]
"""A name whose choices the code that uses it knows and tells."""
OneOrSeveral = BeforeValidator(_one_or_several)
"""One value stands for a list of it."""

MOST_WORKERS = max(LEAST_BOUND, 4 * (os.cpu_count() or 1))
_MACHINE = f"this machine has {os.cpu_count()} cores"
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS), Allowed(f"an integer from 0 to {MOST_WORKERS} ({_MACHINE})")]
SomeWorkers = Annotated[int, Field(ge=1, le=MOST_WORKERS), Allowed(f"an integer from 1 to {MOST_WORKERS} ({_MACHINE})")]


def is_text(annotation: Any) -> bool:
    """Say whether a value that is no mapping or list is text there, whatever YAML would make of it."""
    scalars = [part for part in branches(annotation) if part is not type(None) and not _is_container(part)]
    return bool(scalars) and all(_is_text(part) for part in scalars)


def is_text_list(annotation: Any) -> bool:
    """Say whether a field holds a list of texts."""
    lists = (bare_type(part) for part in branches(annotation))
    return any(get_origin(part) is list and is_text(get_args(part)[0]) for part in lists)


def is_path(annotation: Any) -> bool:
    """Say whether a field holds a path, or a list of them."""
    found = annotation if not is_text_list(annotation) else get_args(bare_type(branches(annotation)[0]))[0]
    return any(words_of(part) == PATH_WORDS for part in branches(found))


def _is_container(part: Any) -> bool:
    return get_origin(bare_type(part)) in (list, dict, tuple)


def _is_text(part: Any) -> bool:
    bare = bare_type(part)
    return bare is str or (get_origin(bare) is Literal and all(isinstance(choice, str) for choice in get_args(bare)))
