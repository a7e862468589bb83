"""Errors that a user can mend."""


class InputError(ValueError):
    """Bad input from outside: a file, a setting, an argument.

    The message is one line that names the thing and says what is allowed. Scripts print it and exit with status 2.
    """


def require(condition: bool, field: str, value: object, allowed: str) -> None:
    """Raise ``InputError`` that names field, value and what is allowed, unless the condition holds."""
    if not condition:
        raise InputError(f"{field} is {value!r}; it must be {allowed}")


class InfeasibleBudgetError(InputError):
    """No architecture of the space meets the budget; the message names the least possible value."""
