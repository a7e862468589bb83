"""Keys of what comes from outside: all that must be there, those that may, and no others."""

import pytest

from supernet.errors import InputError, require_keys


@pytest.mark.parametrize("value", [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": None, "c": 3}])
def test_what_has_the_keys_comes_back_as_it_is(value: dict[str, object]) -> None:
    assert require_keys("thing", value, ("a", "b"), optional=("c", "d")) is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a", "b"], r"thing is \['a', 'b'\]; it must be an object with the keys a, b, c"),
        (None, "thing is None; it must be an object with the keys a, b, c"),
        ({"a": 1, "b": 2, "e": 3}, "thing has the unknown key 'e'; the keys are a, b, c"),
        ({"a": 1, "c": 3}, "thing lacks the key 'b'"),
    ],
)
def test_anything_else_is_named(value: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        require_keys("thing", value, ("a", "b"), optional=("c",))


def test_without_optional_keys_none_is_let_in() -> None:
    with pytest.raises(InputError, match=r"unknown key 'c'; the keys are a, b$"):
        require_keys("thing", {"a": 1, "b": 2, "c": 3}, ("a", "b"))
