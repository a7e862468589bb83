"""Values from outside against a declared type: what fits comes back, the first misfit is one line with its field."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from supernet.errors import InputError
from supernet.validation import validate


class _Inner(BaseModel):
    model_config = ConfigDict(strict=True)

    sizes: list[Annotated[int, Field(ge=1)]]


class _Outer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    inner: _Inner
    name: str = "x"


def test_what_fits_comes_back() -> None:
    checked = validate(_Outer, {"inner": {"sizes": [1, 2]}}, "a.json")
    assert (checked.inner.sizes, checked.name) == ([1, 2], "x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"inner": {"sizes": [1, "2"]}}, "a.json: inner.sizes.1: input should be a valid integer (it is '2')"),
        (
            {"inner": {"sizes": [0]}},
            "a.json: inner.sizes.0: input should be greater than or equal to 1 (it is 0)",
        ),
        ({"inner": {}}, "a.json: inner.sizes: field required"),
        ({"inner": {"sizes": []}, "more": 1}, "a.json: more: extra inputs are not permitted (it is 1)"),
    ],
)
def test_the_first_misfit_is_one_line(value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(_Outer, value, "a.json")
    assert str(caught.value) == message
