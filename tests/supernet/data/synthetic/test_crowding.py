import numpy as np
import pytest

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE
from litepose_ofa.supernet.data.synthetic.crowding import Crowding
from litepose_ofa.supernet.data.synthetic.labels import crowd_index, find_owners, label_people
from litepose_ofa.supernet.data.synthetic.placement import Placer
from litepose_ofa.supernet.data.synthetic.poses import Kinematics
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.evaluation.keypoint_ap import CROWD_LEVELS

SETTINGS = PeopleSettings(image_size=(160, 120), people=(1, 6), person_height=(0.1, 0.85), log_heights=True)


@pytest.mark.parametrize("level", CROWD_LEVELS)
@pytest.mark.parametrize("count", [1, 2, 6])
def test_images_are_as_crowded_as_wanted(level: str, count: int) -> None:
    low, high = np.clip(CROWD_LEVELS[level], 0, 1)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        skeleton = (COCO, CROWDPOSE)[seed % 2]
        people = Crowding(Placer(SETTINGS, Kinematics()), skeleton, low, high).people(rng, count)
        labels = label_people(people, find_owners(people, (160, 120)), skeleton, self_occlusion=True)
        index = round(crowd_index(labels.keypoints, labels.boxes), 2)
        assert low <= index < high or index == high == 1
        assert len(people) <= max(count, 2)
        assert (labels.areas > 0).all()


def test_a_range_that_moves_do_not_reach_is_reached_by_a_pair() -> None:
    """Two people of fixed size meet a narrow range only by luck, until their distance is scanned."""
    fixed = PeopleSettings(image_size=(160, 120), people=(2, 2), person_height=(0.8, 0.8))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        people = Crowding(Placer(fixed, Kinematics()), CROWDPOSE, 0.5, 0.6).people(rng, 2)
        labels = label_people(people, find_owners(people, (160, 120)), CROWDPOSE, self_occlusion=False)
        assert 0.5 - 0.08 <= crowd_index(labels.keypoints, labels.boxes) <= 0.6 + 0.08
