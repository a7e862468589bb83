"""Messages: values cut short, and where the bad input is."""

import pytest

from litepose_ofa.supernet.errors import SHOWN_CHARACTERS, InputError, located, require, shown


@pytest.mark.parametrize("value", [None, 3, "x", -1.5, "a" * 100, [1, 2], {"b": 1}, ["small", ("a", None)]])
def test_a_short_value_is_shown_as_it_is(value: object) -> None:
    assert shown(value) == repr(value)


def test_no_value_is_shown_at_length() -> None:
    laughs: list[object] = ["ha"] * 9
    for _ in range(9):
        laughs = [laughs] * 9  # 9^10 elements, if they were written out
    for value in (laughs, {"a": laughs}, "a" * 10**6, list(range(10**6)), 16**5000, b"b" * 10**6):
        assert len(shown(value)) <= 2 * SHOWN_CHARACTERS + 3
        with pytest.raises(InputError, match=r"^img_size is ") as caught:
            require(False, "img_size", value, "an integer")
        assert len(str(caught.value)) < 2 * SHOWN_CHARACTERS + 50


def test_bad_input_is_located() -> None:
    with pytest.raises(InputError, match=r"^arch\.json: img_size is 5; it must be 6$"), located("arch.json"):
        require(False, "img_size", 5, "6")
