import pytest

from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": [10, 160]}, "image_size"),
        ({"people": [3, 2]}, "people is .* ascending"),
        ({"crowd_index": [[0.8, 0.85]]}, r"at least 0\.1 wide"),
        ({"crowd_index": [[0.8, 1]], "people": [1, 1]}, "up to 2 or more"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PeopleSettings(**values)  # type: ignore[arg-type]


def test_lists_serve_for_tuples_and_one_number_for_a_square() -> None:
    settings = PeopleSettings(image_size=96, people=[1, 3], crowd_index=[[0, 0.2], [0.8, 1]])  # type: ignore[arg-type]
    assert settings == PeopleSettings(image_size=(96, 96), people=(1, 3), crowd_index=((0, 0.2), (0.8, 1)))
