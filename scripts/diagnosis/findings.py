"""What a check finds, and how a check that fails becomes a finding too."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "absent", "warning", "error"]

MARKS: dict[Status, str] = {"ok": "ok", "absent": "--", "warning": "warning", "error": "ERROR"}
"""How the statuses are printed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        subject: What was looked at.
        status: ``absent`` is something that not everybody needs.
        text: What was found.
        advice: What to do about it; empty where there is nothing to do.
    """

    subject: str
    status: Status
    text: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def findings_of(subject: str, check: Check) -> Iterator[Finding]:
    """Yield a check's findings; an exception that it did not expect becomes an error of the subject."""
    try:
        yield from check()
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding(subject, "error", text, "install litepose-ofa again, with the packages that it needs")
