"""Annotated and predicted people of the same images, matched by object keypoint similarity (OKS).

Legend: I images, A annotations, N predicted people, K keypoints, T OKS thresholds, R recall levels. Points are in the
image frame, in pixels.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.cocoeval import COCOeval

from litepose_ofa.supernet.data.coco.records import Annotations
from litepose_ofa.supernet.data.skeletons import BOX_AREA_SHARE
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.results import PeopleResults

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.integer[Any]]

PERSON = 1
"""The one class that is evaluated."""

MAX_PEOPLE = 20
"""Predictions beyond this many of an image, by score, do not count."""

ANY_SIZE = (0.0, 1e10)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of a person's area in square pixels, both ends included."""

RECALL_LEVELS = np.linspace(0, 1, 101)
"""Where COCO reads precision, shape (R,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Which predictions are right at each threshold, and how many people there were to find.

    Attributes:
        scores: In falling order, shape (N,).
        images: The image of each prediction, shape (N,).
        correct: Matched with a person who counts, shape (T, N).
        wrong: Matched with nobody, shape (T, N); what is neither does not count.
        labelled: People who count, by image, shape (I,).
        pairs: Rows of predictions and of the people they are matched with at the lowest threshold, shape (2, P).
    """

    scores: FloatArray
    images: IntArray
    correct: BoolArray
    wrong: BoolArray
    labelled: IntArray
    pairs: IntArray

    def precision_recall(self, weights: IntArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return precision at each recall level, shape (T, R), and the recall reached, shape (T,).

        Equal to pycocotools' accumulation over images of which each is there ``weights`` times, as long as no two
        predictions in an image have one score: their order is arbitrary, and copies of them stay together here.

        Args:
            weights: How often each image counts, shape (I,); once if None. At least one must have a labelled person.
        """
        times = np.ones(len(self.labelled), np.int64) if weights is None else weights
        each = times[self.images].astype(np.int32)
        correct, wrong = (np.cumsum(kind * each, axis=1) for kind in (self.correct, self.wrong))
        recall = correct / int(self.labelled @ times)
        precision = correct / (correct + wrong + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.pad(best, ((0, 0), (0, 1)))  # a recall that is never reached
        places = [np.searchsorted(reached, RECALL_LEVELS) for reached in recall]
        cells = np.take_along_axis(best, np.array(places), axis=1)
        return cells, recall[:, -1] if len(self.scores) else np.zeros(len(recall))

    def average_precision(self, weights: IntArray | None = None) -> float:
        """Return AP: the mean precision over recall levels and thresholds; ``weights`` as for the precision."""
        return float(self.precision_recall(weights)[0].mean())


class PeopleComparison:
    """The people of some images of a file, or of all, annotated and predicted; predictions on others do not count.

    Attributes:
        images: Their places in the annotations in the order of their ids, shape (I,).
        areas: The OKS area of every annotation, by the skeleton's rule, shape (A,).
        ignored: Which annotations need not be found: crowds, and people without keypoints, shape (A,).
        labelled: People who are to be found, by image, shape (I,).
        official_sizes: The sizes of people that the dataset's evaluation reports: COCO's medium and large, none of
            CrowdPose.

    Raises:
        InputError: If the annotations lack an image, or the area of a person.
    """

    def __init__(self, truth: Annotations, results: PeopleResults, image_ids: Iterable[int] | None = None) -> None:
        self.truth = truth
        self.results = results
        self.skeleton = truth.skeleton
        self.images = _places(truth, image_ids)
        self.areas = _areas(truth)
        self.ignored = truth.crowds | (truth.num_keypoints == 0)
        people: IntArray = np.bincount(truth.images[~self.ignored], minlength=len(truth.image_ids))
        self.labelled = people[self.images]
        self.official_sizes = ("medium", "large") if truth.skeleton.area == "annotation" else ()
        # The predictions that count, by image and falling score, and where each image's begin.
        ids, chosen = results.image_ids, truth.image_ids[self.images]
        order = np.lexsort((-results.scores, ids))
        order = order[np.isin(ids[order], chosen)]
        starts = np.searchsorted(ids[order], chosen)
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
        kept = rank < MAX_PEOPLE
        self._rows = order[kept]
        self._starts = np.concatenate([[0], np.cumsum(kept)])[np.append(starts, len(order))]

    @cached_property
    def matching(self) -> "OksMatching":
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
        rows = self.found_rows(image)
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
        similarity = self.similarity(self.found_rows(image)[:, None], truths)
        counted = self.truth.keypoints[truths, :, 2] > 0
        counted[~counted.any(axis=1)] = True
        oks: FloatArray = (similarity * counted).sum(axis=-1) / counted.sum(axis=-1)
        return oks

    def similarity(self, found: Rows, truths: Rows) -> FloatArray:
        """Return how near keypoints of predictions are to those of annotations, by COCO's Gaussian, from 0 to 1.

        ``found`` and ``truths`` are their rows, of shapes that broadcast; the result has the common shape and (K,).
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
        variances = (2 * np.array(self.skeleton.sigmas)) ** 2
        similarity: FloatArray = np.exp(-(offsets**2).sum(axis=-1) / variances / areas / 2)
        return similarity

    def found_rows(self, image: int) -> IntArray:
        """Return the rows of an image's predictions that count, by falling score."""
        return self._rows[self._starts[image] : self._starts[image + 1]]


@dataclass(frozen=True, slots=True)
class _ByImage:
    """People by (image, class), made when they are asked for."""

    people: Callable[[int], list[dict[str, Any]]]

    def __getitem__(self, key: tuple[int, int]) -> list[dict[str, Any]]:
        return self.people(key[0])


class OksMatching(COCOeval):  # type: ignore[misc]
    """pycocotools' matching, without its printing, for any skeleton, of people of any size and of some ``SIZES``."""

    def __init__(self, comparison: PeopleComparison, sizes: Sequence[str] = ()) -> None:
        super().__init__(None, None, "keypoints")
        self.comparison = comparison
        set_parameters(self.params, comparison, sizes)
        with contextlib.redirect_stdout(io.StringIO()):
            self.evaluate()

    def _prepare(self) -> None:
        self._gts = _ByImage(self.comparison.truths)
        self._dts = _ByImage(self.comparison.found)

    def computeOks(self, image: int, category: int) -> FloatArray | list[float]:  # noqa: N802
        """Return the OKS of an image's predictions (N) with its annotations (G), shape (N, G)."""
        oks = self.comparison.oks(image)
        return oks if oks.size else []

    def matches(self, size: int = 0) -> Matches:
        """Return who was matched with whom among people of any size, or of the one at a position from 1."""
        count = len(self.comparison.images)
        per_image = [found for found in self.evalImgs[size * count : (size + 1) * count] if found is not None]
        scores, rows = (np.concatenate([found[key] for found in per_image]) for key in ("dtScores", "dtIds"))
        matched, ignored = (
            np.concatenate([found[key] for found in per_image], axis=1) for key in ("dtMatches", "dtIgnore")
        )
        places = np.array([found["image_id"] for found in per_image])
        labelled = np.zeros(count, np.int64)
        labelled[places] = [np.count_nonzero(found["gtIgnore"] == 0) for found in per_image]
        correct, wrong = (matched > 0) & ~ignored, (matched == 0) & ~ignored
        order = np.argsort(-scores, kind="stable")
        return Matches(
            scores=scores[order],
            images=np.repeat(places, [len(found["dtIds"]) for found in per_image])[order],
            correct=correct[:, order],
            wrong=wrong[:, order],
            labelled=labelled,
            pairs=np.stack([rows[correct[0]], matched[0, correct[0]]]).astype(np.int64) - 1,
        )


def set_parameters(parameters: Any, comparison: PeopleComparison, sizes: Sequence[str]) -> None:
    """Set what COCO's evaluation and its equals are told in their ``params``."""
    parameters.kpt_oks_sigmas = np.array(comparison.skeleton.sigmas)
    parameters.imgIds, parameters.catIds = list(range(len(comparison.images))), [PERSON]
    parameters.maxDets = [MAX_PEOPLE]
    parameters.areaRng = [list(ANY_SIZE), *(list(SIZES[size]) for size in sizes)]
    parameters.areaRngLbl = ["all", *sizes]


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
