"""Entries of an annotation file as they are written; ``entries`` is what is read.

Legend: K keypoints. Frame: the image, as in ``records``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.skeletons import Skeleton


def category_entry(skeleton: Skeleton, *, id: int = 1, name: str = "person") -> dict[str, Any]:
    """Return the entry of a category that has the skeleton's keypoints."""
    limbs = [[start + 1, end + 1] for start, end in skeleton.limbs]
    names = list(skeleton.keypoints)
    return {"id": id, "name": name, "supercategory": "person", "keypoints": names, "skeleton": limbs}


def person_entry(
    id: int,
    image_id: int,
    box: Sequence[float],
    area: float,
    keypoints: npt.NDArray[np.floating[Any] | np.integer[Any]],
    *,
    category_id: int = 1,
    iscrowd: int = 0,
) -> dict[str, Any]:
    """Return the entry of a person.

    Args:
        id: Of the annotation, above 0: pycocotools counts 0 as never found.
        image_id: Of the image.
        box: x, y, width, height in pixels.
        area: In square pixels.
        keypoints: x, y in pixels, written to hundredths, and visibility (0, 1, 2), shape (K, 3).
        category_id: Of the category.
        iscrowd: 1 for a crowd.
    """
    points = keypoints.ravel().tolist()
    return {
        "id": id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": iscrowd,
        "bbox": list(box),
        "area": area,
        "num_keypoints": int(np.count_nonzero(keypoints[:, 2])),
        "keypoints": [int(value) if i % 3 == 2 else round(value, 2) for i, value in enumerate(points)],
    }
