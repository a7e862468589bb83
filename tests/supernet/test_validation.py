"""A value from outside is its model, or one line names the field and says what is allowed there."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import (
    Allowed,
    Checked,
    Count,
    Fraction,
    Integer,
    Pair,
    Positive,
    Whole,
    allowed,
    leaf_keys,
    validate,
)


def refuse(value: str) -> str:
    raise ValueError("a reason of its own")


class Inner(Checked):
    rate: Fraction = 0.5
    kind: Literal["a", "b"] = "a"
    pair: Pair = (1.0, 2.0)


class Outer(Checked):
    steps: Count
    whole: Whole = 0
    big: Integer = 0
    limit: Positive | None = None
    flag: bool = False
    name: Annotated[str, Allowed("a name")] = "x"
    told: Annotated[str, AfterValidator(refuse)] = "x"
    inner: Inner = Inner()
    parts: dict[str, Inner] = {}  # noqa: RUF012 - pydantic copies it
    items: list[Inner] = []  # noqa: RUF012
    numbers: Annotated[list[int], Field(min_length=1)] = [1]  # noqa: RUF012
    budget: Positive | Literal["none"] | dict[str, Positive] | None = None


def test_what_is_allowed_is_taken_as_it_is() -> None:
    values = {
        "steps": 3,
        "limit": 1,
        "inner": {"rate": 1, "pair": [0.5, 2]},
        "parts": {"any": {"kind": "b"}},
        "budget": {"nano": 4},
    }
    outer = validate(Outer, values, "x")
    assert (outer.steps, outer.limit, outer.inner.pair) == (3, 1.0, (0.5, 2.0))
    assert outer.parts["any"].kind == "b"
    assert outer.budget == {"nano": 4.0}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"steps": None}, "steps is null; it must be an integer of at least 1"),
        ({"steps": True}, "steps is True; it must be an integer of at least 1"),
        ({"steps": 2**63}, f"steps is {2**63}; it must be an integer of at least 1"),
        ({"big": -(2**63) - 1}, f"big is {-(2**63) - 1}; it must be an integer"),
        ({"whole": -1}, "whole is -1; it must be an integer of at least 0"),
        ({"limit": 0}, "limit is 0; it must be a number above 0, or null"),
        ({"flag": 1}, "flag is 1; it must be true or false"),
        ({"name": 5}, "name is 5; it must be a name"),
        ({"told": "y"}, "told: a reason of its own"),
        ({"inner": None}, "inner is null; it must be a mapping with the keys rate, kind, pair"),
        ({"inner": {"rate": 1.5}}, "inner.rate is 1.5; it must be a number from 0 to 1"),
        ({"inner": {"rate": float("nan")}}, "inner.rate is nan; it must be a number from 0 to 1"),
        ({"inner": {"kind": "c"}}, "inner.kind is 'c'; it must be one of a, b"),
        ({"inner": {"pair": [1, "2"]}}, "inner.pair is [1, '2']; it must be a list of 2 numbers"),
        ({"inner": {"rat": 1}}, "unknown key inner.rat; the keys are rate, kind, pair"),
        ({"parts": {"one": {"kind": 3}}}, "parts.one.kind is 3; it must be one of a, b"),
        ({"parts": [1]}, "parts is [1]; it must be a mapping"),
        ({"items": [{}, {"rate": 2}]}, "items[1].rate is 2; it must be a number from 0 to 1"),
        ({"numbers": []}, "numbers is []; it must be a list of at least 1 integers"),
        ({"numbers": [1, None]}, "numbers is [1, None]; it must be a list of at least 1 integers"),
        ({"budget": "soon"}, "budget is 'soon'; it must be a number above 0 or one of none or a mapping, or null"),
        ({"budget": {"nano": -1}}, "budget.nano is -1; it must be a number above 0"),
        ({"other": 1}, "unknown key other; the keys are steps, whole, big, limit,"),
    ],
)
def test_what_is_not_is_told_in_one_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(Outer, {"steps": 1, **change}, "file.json")
    assert str(caught.value).startswith(f"file.json: {told}")


def test_a_missing_key_and_what_is_no_mapping_are_told() -> None:
    with pytest.raises(InputError, match=r"^steps is missing$"):
        validate(Outer, {}, "")
    with pytest.raises(InputError, match=r"^x: it is 5; it must be a mapping with the keys steps, "):
        validate(Outer, 5, "x")


def test_the_keys_of_values_are_listed_with_any_name_as_a_star() -> None:
    keys = dict(leaf_keys(Outer))
    assert {"steps", "inner.rate", "parts.*.kind", "budget", "budget.*"} <= keys.keys()
    assert allowed(keys["steps"]) == "an integer of at least 1"
