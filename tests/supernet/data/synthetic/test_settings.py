import pytest

from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.errors import InputError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": [10, 160]}, "image_size is 10"),
        ({"image_size": [160.5, 160]}, "must be an integer"),
        ({"people": [0, 2]}, "people is 0"),
        ({"people": [3, 2]}, "the first must not exceed"),
        ({"people": 2}, "must be a pair"),
        ({"person_height": [0.5, 1.5]}, "person_height is 1.5"),
        ({"max_overlap": "much"}, "max_overlap is 'much'"),
        ({"jpeg_quality": 0}, "jpeg_quality is 0"),
        ({"colour": 3}, "unknown key 'colour'"),
        ({"people": [1, 100]}, "people is 100"),
        ({"people": [True, 2]}, "people is True"),
        ({"truncated": float("nan")}, "truncated is nan"),
        ({"yaw_degrees": 91.0}, "yaw_degrees is 91.0"),
        ({"varied_looks": 1}, "varied_looks is 1; it must be true or false"),
        ({"placement": "anywhere"}, "it must be random or annotated"),
        ({"crowd_index": 0.5}, "a list of"),
        ({"crowd_index": [0.2, 0.8]}, "must be a pair"),
        ({"crowd_index": [[0.2, 0.8, 0.9]]}, "must be a pair"),
        ({"crowd_index": [[0.8, 0.85]]}, "at least 0.1 wide"),
        ({"crowd_index": [[0.8, 0.2]]}, "at least 0.1 wide"),
        ({"crowd_index": [[0.8, 1]], "people": [1, 1]}, "up to 2 or more"),
        ({"crowd_index": [[0, 1]], "placement": "annotated"}, "cannot be chosen with placement=annotated"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PeopleSettings.from_dict(values)


def test_settings_from_a_config() -> None:
    settings = PeopleSettings.from_dict({"image_size": 96, "people": [1, 3]})
    assert settings == PeopleSettings(image_size=(96, 96), people=(1, 3))
    assert PeopleSettings.from_dict({"crowd_index": [[0, 0.2], [0.8, 1]]}).crowd_index == ((0, 0.2), (0.8, 1))
