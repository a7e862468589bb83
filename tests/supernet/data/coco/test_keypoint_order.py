"""Keypoints of the skeleton's names in another order are matched by name, and a line says so."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litepose_ofa.supernet.data.coco.reader import load_annotations, read_annotations
from litepose_ofa.supernet.data.coco.records import Annotations
from litepose_ofa.supernet.data.findings import FindingLog, Kind
from litepose_ofa.supernet.data.skeletons import CROWDPOSE


def read_all(folder: Path, content: object) -> tuple[Annotations, FindingLog]:
    path, log = folder / "people.json", FindingLog()
    path.write_text(json.dumps(content))
    return read_annotations(path, CROWDPOSE, log), log


@pytest.mark.parametrize("category", [{"category_id": 1}, {}])
@pytest.mark.parametrize("categories_first", [True, False])
def test_the_same_names_in_another_order_are_matched_by_name(
    tmp_path: Path,
    content: dict[str, Any],
    category: dict[str, int],
    categories_first: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As CVAT writes them: of each pair the right one first, and a category with fields of its own."""
    expected = read_all(tmp_path, content)[0].keypoints
    order = [place + 1 - 2 * (place % 2) for place in range(12)] + [13, 12]
    for person in content["annotations"]:
        person["keypoints"] = np.reshape(person["keypoints"], (14, 3))[order].ravel().tolist()
        person |= {**category, "attributes": {"occluded": False}}
    names = [CROWDPOSE.keypoints[place] for place in order]
    assert names[:2] == ["right_shoulder", "left_shoulder"]
    content["categories"] = [{"id": 1, "name": "person", "supercategory": "", "keypoints": names, "skeleton": []}]
    if categories_first:
        content = dict(reversed(content.items()))
    assert read_all(tmp_path, content)[1].counts == {Kind.KEYPOINT_ORDER: 1}
    caplog.set_level(logging.INFO)
    np.testing.assert_array_equal(load_annotations(tmp_path / "people.json", CROWDPOSE).keypoints, expected)
    message = "people.json: category 1 has the keypoints of crowdpose in another order: they are matched by name"
    assert [line.rpartition("/")[2] for line in caplog.messages] == [message]


def test_each_category_has_an_order_of_its_own(tmp_path: Path, content: dict[str, Any]) -> None:
    names = list(CROWDPOSE.keypoints)
    person = content["annotations"][0]
    turned = np.reshape(person["keypoints"], (14, 3))[::-1].ravel().tolist()
    content["annotations"] = [person | {"category_id": 1}, {**person, "id": 2, "keypoints": turned, "category_id": 2}]
    content["categories"] = [
        {"id": 1, "name": "woman", "keypoints": names},
        {"id": 2, "name": "man", "keypoints": names[::-1]},
    ]
    annotations, findings = read_all(tmp_path, content)
    np.testing.assert_array_equal(annotations.keypoints[0], annotations.keypoints[1])
    assert findings.entries[Kind.KEYPOINT_ORDER] == [2]
