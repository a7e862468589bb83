"""Annotated and predicted people of the same images, side by side: what every evaluation starts from.

Legend: I images, A annotations, N predicted people, K keypoints. Points are in the image frame, in pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.coco.doubts import DOUBTS_OF_EVALUATION, require_meaningful
from litepose_ofa.supernet.data.coco.findings import Kind
from litepose_ofa.supernet.data.coco.reader import load_annotations
from litepose_ofa.supernet.data.coco.records import AnnotatedImages, Annotations
from litepose_ofa.supernet.data.skeletons import Skeleton, get_skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.matching import MAX_PEOPLE, Matches, OksMatching
from litepose_ofa.supernet.evaluation.results import PeopleResults, as_people_results

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Rows = npt.NDArray[np.integer[Any]]

BOX_AREA_SHARE = 0.53
"""Area of a person in a box of area 1, by CrowdPose (arXiv:1812.00324)."""


def compare_people(
    annotations_path: Path | str,
    predictions: Sequence[Mapping[str, Any]],
    dataset: str | Skeleton = "coco",
    *,
    image_ids: Iterable[int] | None = None,
) -> "PeopleComparison":
    """Put predicted people beside the annotated ones; the arguments are those of ``evaluate_keypoints``.

    Raises:
        InputError: If the file is not COCO keypoints of this skeleton, if nobody is labelled in the images, or if a
            prediction names an unknown image or holds other than 3K finite numbers.
    """
    skeleton = get_skeleton(dataset) if isinstance(dataset, str) else dataset
    path = Path(annotations_path)
    truth = load_annotations(path, skeleton)
    results = as_people_results(predictions, skeleton.num_keypoints)
    known = np.isin(results.image_ids, truth.image_ids)
    if not known.all():
        raise InputError(
            f"prediction {known.argmin()} is of image {results.image_ids[~known][0]}, which {path} does not have"
        )
    try:
        comparison = PeopleComparison(truth, results, image_ids)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not comparison.labelled.any():
        raise InputError(f"{path}: no labelled person in the {comparison.num_images} images to evaluate")
    return comparison


def require_comparable(dataset: KeypointDataset) -> None:
    """Refuse a dataset that gives no AP, or a wrong one to every network; warn if it does so in part.

    Raises:
        InputError: If nobody is labelled, a person lacks an area, or at least half of the people are annotated so that
            nobody could find them, or anybody would.
    """
    records = dataset.records
    if not isinstance(records, AnnotatedImages):
        return
    image_ids = records.annotations.image_ids[records.places].tolist()
    compare_people(dataset.annotations_path, [], dataset.skeleton, image_ids=image_ids)
    unused = Kind.CORNER_BOX if dataset.skeleton.area == "annotation" else None  # of people, boxes give the area alone
    kinds = [kind for kind in DOUBTS_OF_EVALUATION if kind is not unused]
    require_meaningful(records, dataset.annotations_path, kinds)


class PeopleComparison:
    """The people of some images of a file, annotated and predicted.

    Args:
        truth: The annotations.
        results: The predicted people; those on other images do not count.
        image_ids: The images to compare; all of the file if None.

    Attributes:
        images: Their places in the annotations in the order of their ids, shape (I,).
        areas: The OKS area of every annotation, by the skeleton's rule, shape (A,).
        ignored: Which annotations need not be found: crowds, and people without keypoints, shape (A,).

    Raises:
        InputError: If the annotations lack an image, or the area of a person.
    """

    def __init__(self, truth: Annotations, results: PeopleResults, image_ids: Iterable[int] | None = None) -> None:
        self.truth = truth
        self.results = results
        self.skeleton = truth.skeleton
        self.sigmas = np.array(truth.skeleton.sigmas)
        self.images = _places(truth, image_ids)
        self.areas = _areas(truth)
        self.ignored = truth.crowds | (truth.num_keypoints == 0)
        self._rows, self._starts = self._by_image()

    def _by_image(self) -> tuple[IntArray, IntArray]:
        """Return the predictions that count, by image and falling score, and where each image's begin."""
        ids, chosen = self.results.image_ids, self.truth.image_ids[self.images]
        order = np.lexsort((-self.results.scores, ids))
        order = order[np.isin(ids[order], chosen)]
        starts = np.searchsorted(ids[order], chosen)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        kept = rank < MAX_PEOPLE
        return order[kept], np.concatenate([[0], np.cumsum(kept)])[np.append(starts, len(order))]

    @property
    def num_images(self) -> int:
        """I."""
        return len(self.images)

    @property
    def labelled(self) -> IntArray:
        """People who are to be found, by image, shape (I,)."""
        people: IntArray = np.bincount(self.truth.images[~self.ignored], minlength=len(self.truth.image_ids))
        return people[self.images]

    @property
    def crowd_index(self) -> FloatArray:
        """How crowded each image is, shape (I,); NaN where the file does not say."""
        return self.truth.crowd_index[self.images]

    @property
    def official_sizes(self) -> tuple[str, ...]:
        """The sizes of people that the dataset's evaluation reports: COCO's medium and large, none of CrowdPose."""
        return ("medium", "large") if self.skeleton.area == "annotation" else ()

    @cached_property
    def matching(self) -> OksMatching:
        """pycocotools' matching of everyone and of the official sizes."""
        return OksMatching(self, self.official_sizes)

    @cached_property
    def matches(self) -> Matches:
        """Who of any size was matched with whom."""
        return self.matching.matches()

    def truths(self, image: int) -> list[dict[str, Any]]:
        """Return the annotated people of an image: id (its row, from 1), area, iscrowd, ignore."""
        rows = self.truth.of_image(self.images[image])
        return [
            {"id": row + 1, "area": area, "iscrowd": int(crowd), "ignore": int(ignored)}  # 0 would read as unmatched
            for row, area, crowd, ignored in zip(
                rows.tolist(), self.areas[rows].tolist(), self.truth.crowds[rows], self.ignored[rows], strict=True
            )
        ]

    def found(self, image: int) -> list[dict[str, Any]]:
        """Return the predicted people of an image: id (its row, from 1), score, area of the box of its keypoints."""
        rows = self._found_rows(image)
        areas = np.prod(np.ptp(self.results.keypoints[rows, :, :2].astype(float), axis=1), axis=1)
        scores = self.results.scores[rows]
        return [
            {"id": row + 1, "area": area, "score": score}
            for row, area, score in zip(rows.tolist(), areas.tolist(), scores.tolist(), strict=True)
        ]

    def oks(self, image: int) -> FloatArray:
        """Return the OKS of each prediction (N) with each annotation (G) of an image, shape (N, G).

        An annotation without labelled keypoints is anywhere in a box of three times the side, and all its keypoints
        count.
        """
        truths = self.truth.of_image(self.images[image])
        similarity = self.similarity(self._found_rows(image)[:, None], truths)
        counted = self.truth.keypoints[truths, :, 2] > 0
        counted[~counted.any(axis=1)] = True
        oks: FloatArray = (similarity * counted).sum(axis=-1) / counted.sum(axis=-1)
        return oks

    def similarity(self, found: Rows, truths: Rows) -> FloatArray:
        """Return how near keypoints are to those of annotations, by COCO's Gaussian.

        Args:
            found: Rows of predictions.
            truths: Rows of annotations, of a shape that broadcasts with that of ``found``.

        Returns:
            From 0 to 1, of the common shape and (K,).
        """
        points, labels = self.results.keypoints[found, :, :2].astype(float), self.truth.keypoints[truths]
        offsets = points - labels[..., :2]
        nowhere = ~np.any(labels[..., 2] > 0, axis=-1, keepdims=True)
        if nowhere.any():
            boxes = self.truth.boxes[truths][..., None, :]
            low, high = boxes[..., :2] - boxes[..., 2:], boxes[..., :2] + 2 * boxes[..., 2:]
            outside = np.maximum(low - points, 0) + np.maximum(points - high, 0)
            offsets = np.where(nowhere[..., None], outside, offsets)
        areas = self.areas[truths][..., None] + np.spacing(1)
        similarity: FloatArray = np.exp(-(offsets**2).sum(axis=-1) / (2 * self.sigmas) ** 2 / areas / 2)
        return similarity

    def _found_rows(self, image: int) -> IntArray:
        return self._rows[self._starts[image] : self._starts[image + 1]]


def _places(truth: Annotations, image_ids: Iterable[int] | None) -> IntArray:
    """Return where images are in the annotations, in the order of their ids, each once."""
    order = np.argsort(truth.image_ids)
    if image_ids is None:
        return order
    wanted = np.unique(np.fromiter(image_ids, np.int64))
    unknown = np.setdiff1d(wanted, truth.image_ids)
    if len(unknown):
        raise InputError(f"has no image {unknown[0]}, which image_ids names")
    return order[np.searchsorted(truth.image_ids[order], wanted)]


def _areas(truth: Annotations) -> FloatArray:
    if truth.skeleton.area == "box":
        sides = np.maximum(truth.boxes[:, 2:], 0)  # by an area below 0 everything would be alike
        return BOX_AREA_SHARE * sides[:, 0] * sides[:, 1]
    lacking = np.isnan(truth.areas)
    if lacking.any():
        raise InputError(f"annotation {truth.ids[lacking][0]} lacks the key 'area'")
    return truth.areas
