"""Config values become settings, or one line that names the key."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from litepose_ofa.scripts.build.construct import construct
from litepose_ofa.supernet.errors import InputError


@dataclass(frozen=True)
class Settings:
    steps: int
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = ()
    flag: bool = False
    limit: int | None = None


def test_values_of_the_right_types_are_taken() -> None:
    values = {"steps": 3, "rate": 1, "kind": "b", "pair": [1, 2.5], "many": [1, 2, 3], "flag": True, "limit": None}
    assert construct(Settings, values, "x") == Settings(3, 1, "b", (1, 2.5), (1, 2, 3), True, None)
    assert construct(Settings, {"steps": 1}, "x") == Settings(1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"^x\.steps is missing$"),
        ({"steps": 1, "stpes": 2}, r"^unknown setting x\.stpes; known: steps, rate, "),
        ({"steps": "1"}, r"^x\.steps is '1'; it must be an integer$"),
        ({"steps": True}, r"^x\.steps is True; it must be an integer$"),
        ({"steps": 1.0}, r"^x\.steps is 1\.0; it must be an integer$"),
        ({"steps": 1, "rate": "fast"}, r"^x\.rate is 'fast'; it must be a number$"),
        ({"steps": 1, "kind": "c"}, r"^x\.kind is 'c'; it must be one of a, b$"),
        ({"steps": 1, "pair": [1]}, r"^x\.pair is \[1\]; it must be a list of 2 numbers$"),
        ({"steps": 1, "pair": 1}, r"^x\.pair is 1; it must be a list of 2 numbers$"),
        ({"steps": 1, "many": [1, "2"]}, r"^x\.many is '2'; it must be an integer$"),
        ({"steps": 1, "flag": 0}, r"^x\.flag is 0; it must be true or false$"),
        ({"steps": 1, "limit": "no"}, r"^x\.limit is 'no'; it must be "),
    ],
)
def test_others_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        construct(Settings, values, "x")
