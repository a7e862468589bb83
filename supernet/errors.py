"""Errors that a user can mend."""

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

SHOWN_CHARACTERS = 120

MOST_BITS = 400


class _Repr(reprlib.Repr):
    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if value.bit_length() <= MOST_BITS else f"<integer of {value.bit_length()} bits>"


_REPR = _Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 3, SHOWN_CHARACTERS, SHOWN_CHARACTERS


class InputError(ValueError):
    """Bad input from outside: a file, a setting, an argument.

    The message is one line that names the thing and says what is allowed. Scripts print it and exit with status 2.
    """


class NotFiniteError(InputError):
    """Weights or batch-norm statistics that are not finite: the network is ruined."""


def shown(value: object) -> str:
    """Return a value as it is written in Python, shortened: a file may hold gigabytes, or say that it does."""
    text = _REPR.repr(value)
    return text if len(text) <= 2 * SHOWN_CHARACTERS else f"{text[: 2 * SHOWN_CHARACTERS]}..."


@contextmanager
def located(where: object) -> Iterator[None]:
    """Put the file, or whatever else holds the bad input, before the message of an ``InputError`` of the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def require(condition: bool, field: str, value: object, allowed: str) -> None:
    """Raise ``InputError`` that names field, value and what is allowed, unless the condition holds."""
    if not condition:
        raise InputError(f"{field} is {shown(value)}; it must be {allowed}")


class InfeasibleBudgetError(InputError):
    """No architecture of the space meets the budget; the message names the least possible value."""
