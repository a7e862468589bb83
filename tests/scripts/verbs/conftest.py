"""How a verb ended: what it printed, or the one line that it refused its input with."""

import re
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def finished() -> Callable[[Any], str]:
    """Return what a script printed that ended well."""

    def printed(outcome: Any) -> str:
        assert outcome.status == 0, outcome.stderr
        return str(outcome.stdout)

    return printed


@pytest.fixture(scope="session")
def complaint() -> Callable[[Any], str]:
    """Return the one line that a script refused bad input with."""

    def told(outcome: Any) -> str:
        assert outcome.status == 2, outcome.stderr
        assert re.fullmatch(r"error: [^\n]+\n", outcome.stderr), outcome.stderr
        return str(outcome.stderr)

    return told
