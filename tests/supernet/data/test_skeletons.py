from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.errors import InputError

OWN: dict[str, Any] = {
    "name": "star",
    "keypoints": ["crown", "left_hand", "right_hand", "left_foot", "right_foot"],
    "limbs": [["crown", "left_hand"], ["crown", "right_hand"], [0, 3], [0, 4]],
    "flip_pairs": [["left_hand", "right_hand"], [3, 4]],
    "sigmas": [0.08, 0.06, 0.06, 0.09, 1],
    "area": "box",
}


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_a_mirror_swaps_left_and_right_by_name(skeleton: Skeleton) -> None:
    swapped = {"left": "right", "right": "left"}
    for name, mirrored in zip(skeleton.keypoints, skeleton.flip_indices, strict=True):
        side, _, part = name.partition("_")
        assert skeleton.keypoints[mirrored] == (f"{swapped[side]}_{part}" if side in swapped else name)


def test_a_skeleton_of_one_s_own() -> None:
    skeleton = Skeleton.from_dict(OWN)
    assert skeleton.num_keypoints == 5
    assert skeleton.limbs == ((0, 1), (0, 2), (0, 3), (0, 4))
    assert skeleton.flip_indices == (0, 2, 1, 4, 3)
    assert skeleton.sigmas == (0.08, 0.06, 0.06, 0.09, 1)
    assert hash(skeleton) == hash(Skeleton.from_dict(OWN))


@st.composite
def skeletons(draw: st.DrawFn) -> Skeleton:
    names = draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=8, unique=True))
    order = draw(st.permutations(range(len(names))))
    pairs = list(zip(order[::2], order[1::2], strict=False))
    return Skeleton(
        name=draw(st.text(min_size=1, max_size=5)),
        keypoints=tuple(names),
        limbs=tuple(draw(st.lists(st.sampled_from(pairs), max_size=4))) if pairs else (),
        sigmas=tuple(draw(st.lists(st.floats(0.01, 1), min_size=len(names), max_size=len(names)))),
        area=draw(st.sampled_from(["annotation", "box"])),
        flip_pairs=tuple(pairs[: draw(st.integers(0, len(pairs)))]),
    )


@given(skeleton=skeletons())
def test_plain_values_make_the_same_skeleton_again(skeleton: Skeleton) -> None:
    again = Skeleton.from_dict(skeleton.to_dict())
    assert again == skeleton
    assert [again.flip_indices[index] for index in again.flip_indices] == list(range(again.num_keypoints))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limb": []}, "unknown key limb; the keys are name, keypoints, limbs"),
        ({"sigmas": None}, "sigmas is null; it must be a list"),
        ({"keypoints": []}, r"keypoints is \[\]; it must be a list of different names"),
        ({"keypoints": ["a", "a"]}, "a list of different names"),
        ({"limbs": [["crown", "tail"]]}, "limbs: a keypoint is 'tail'; it must be one of crown, left_hand"),
        ({"limbs": [[0, 5]]}, r"limbs: a pair is \[0, 5\]; it must be two different keypoints, .* from 0 to 4"),
        ({"limbs": [[0]]}, r"limbs: a pair is \[0\]; it must be a list of two keypoints"),
        ({"flip_pairs": [[1, 1]]}, r"flip_pairs: a pair is \[1, 1\]; it must be two different"),
        ({"flip_pairs": [[1, 2], [2, 3]]}, "flip_pairs: 'right_hand' is in 2 pairs; a keypoint must be in one at most"),
        ({"sigmas": [0.1] * 4}, r"sigmas is \[.*\]; it must be 5 numbers above 0"),
        ({"area": "bbox"}, "area is 'bbox'; it must be one of annotation, box"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Skeleton.from_dict({**OWN, **changes})


def test_skeletons_differ_by_the_names_of_their_keypoints() -> None:
    own = Skeleton.from_dict(OWN)
    assert own.difference(Skeleton.from_dict({**OWN, "name": "other", "sigmas": [0.1] * 5})) is None
    assert own.difference(COCO) == "17 keypoints, not 5"
    swapped = ["crown", "right_hand", "left_hand", "left_foot", "right_foot"]
    assert (
        own.difference(Skeleton.from_dict({**OWN, "keypoints": swapped}))
        == "'right_hand' as keypoint 1, not 'left_hand'"
    )


def test_shared_keypoints_are_those_of_the_same_name() -> None:
    shared = COCO.shared_with(CROWDPOSE)
    assert shared.keypoints == COCO.keypoints[5:] == CROWDPOSE.keypoints[:12]
    assert (shared.sigmas, shared.area) == (COCO.sigmas[5:], "annotation")
    names = {(shared.keypoints[a], shared.keypoints[b]) for a, b in shared.limbs}
    limbs = {(COCO.keypoints[a], COCO.keypoints[b]) for a, b in COCO.limbs}
    assert names == {limb for limb in limbs if set(limb) <= set(shared.keypoints)}
    assert len(names) == 12
    assert shared.flip_indices == CROWDPOSE.flip_indices[:12]
    assert COCO.shared_with(COCO) == COCO
    star = Skeleton.from_dict(OWN)
    few = Skeleton("few", ("left_foot", "tail", "left_hand", "crown"), (), (0.1,) * 4, "box")
    assert star.shared_with(few) == Skeleton(
        "star", ("crown", "left_hand", "left_foot"), ((0, 1), (0, 2)), (0.08, 0.06, 0.09), "box"
    )
    with pytest.raises(InputError, match="the skeletons star and coco share no keypoint"):
        Skeleton.from_dict(OWN).shared_with(COCO)
