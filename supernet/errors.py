"""Errors that a user can mend."""


class InputError(ValueError):
    """Bad input from outside: a file, a setting, an argument.

    The message is one line that names the thing and says what is allowed. Scripts print it and exit with status 2.
    """


class InfeasibleBudgetError(InputError):
    """No architecture of the space meets the budget; the message names the least possible value."""
