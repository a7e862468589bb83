"""Who was found: people matched by object keypoint similarity (OKS), and precision and recall of the matches.

Legend: I images, N predicted people, T OKS thresholds, R recall levels.
"""

import contextlib
import copy
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pycocotools.cocoeval import COCOeval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

Cells = tuple[FloatArray, FloatArray]
"""Precision, shape (T, R, A), and recall, shape (T, A), of A sizes."""

PERSON = 1
"""The one class that is evaluated."""

MAX_PEOPLE = 20
"""Predictions beyond this many of an image, by score, do not count."""

ANY_SIZE = (0.0, 1e10)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of a person's area in square pixels, both ends included."""


class Comparison(Protocol):
    """Annotated and predicted people of images 0 to I - 1; those predicted in the order of falling scores."""

    @property
    def num_images(self) -> int:
        """I."""

    @property
    def sigmas(self) -> FloatArray:
        """OKS constants, shape (K,)."""

    def truths(self, image: int) -> list[dict[str, Any]]:
        """Return the annotated people: id (from 1), area, iscrowd, ignore."""

    def found(self, image: int) -> list[dict[str, Any]]:
        """Return the predicted people: id (from 1), area, score."""

    def oks(self, image: int) -> FloatArray:
        """Return the OKS of each prediction with each annotation."""


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What became of each prediction at each threshold, and how many people there were.

    Attributes:
        scores: In falling order, shape (N,).
        images: The image of each prediction, shape (N,).
        correct: Matched with a person who counts, shape (T, N).
        wrong: Matched with nobody, shape (T, N); what is neither does not count.
        labelled: People who count, by image, shape (I,).
        pairs: Rows of predictions and of the people they are matched with at the lowest threshold, shape (2, P).
        recall_levels: Where precision is read, shape (R,).
    """

    scores: FloatArray
    images: IntArray
    correct: BoolArray
    wrong: BoolArray
    labelled: IntArray
    pairs: IntArray
    recall_levels: FloatArray

    @property
    def num_images(self) -> int:
        """I."""
        return len(self.labelled)

    def precision_recall(self, weights: IntArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return precision at each recall level, shape (T, R), and the recall reached, shape (T,).

        Equal to pycocotools' accumulation over images of which each is there ``weights`` times, as long as no two
        predictions in an image have one score: their order is arbitrary, and copies of them stay together here.

        Args:
            weights: How often each image counts, shape (I,); once if None. At least one must have a labelled person.
        """
        times = np.ones(self.num_images, np.int64) if weights is None else weights
        each = times[self.images].astype(np.int32)
        correct, wrong = (np.cumsum(kind * each, axis=1) for kind in (self.correct, self.wrong))
        recall = correct / int(self.labelled @ times)
        precision = correct / (correct + wrong + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.pad(best, ((0, 0), (0, 1)))  # a recall that is never reached
        places = [np.searchsorted(reached, self.recall_levels) for reached in recall]
        cells = np.take_along_axis(best, np.array(places), axis=1)
        return cells, recall[:, -1] if len(self.scores) else np.zeros(len(recall))

    def average_precision(self, weights: IntArray | None = None) -> float:
        """Return AP: the mean precision over recall levels and thresholds; ``weights`` as for the precision."""
        return float(self.precision_recall(weights)[0].mean())


@dataclass(frozen=True, slots=True)
class _ByImage:
    """People by (image, class), made when they are asked for."""

    people: Callable[[int], list[dict[str, Any]]]

    def __getitem__(self, key: tuple[int, int]) -> list[dict[str, Any]]:
        return self.people(key[0])


class OksMatching(COCOeval):  # type: ignore[misc]
    """pycocotools' matching and averaging, without its printing, for any skeleton.

    Args:
        comparison: The people.
        sizes: Names in ``SIZES`` to evaluate too.
    """

    def __init__(self, comparison: Comparison, sizes: Sequence[str] = ()) -> None:
        super().__init__(None, None, "keypoints")
        self.comparison = comparison
        set_parameters(self.params, comparison, sizes)
        with silenced():
            self.evaluate()

    def _prepare(self) -> None:
        self._gts = _ByImage(self.comparison.truths)
        self._dts = _ByImage(self.comparison.found)

    def computeOks(self, image: int, category: int) -> FloatArray | list[float]:  # noqa: N802
        """Return the OKS of an image's predictions (N) with its annotations (G), shape (N, G)."""
        oks = self.comparison.oks(image)
        return oks if oks.size else []

    def cells(self, images: BoolArray | None = None) -> Cells:
        """Return precision by (threshold, recall level, size), recall by (threshold, size); -1 where nobody counts.

        Args:
            images: Whether an image counts, shape (I,); all if None.
        """
        part = self if images is None else self._part(images)
        with silenced():
            part.accumulate()
        return part.eval["precision"][:, :, 0, :, 0], part.eval["recall"][:, 0, :, 0]

    def matches(self, size: int = 0) -> Matches:
        """Return who was matched with whom among people of any size, or of the one at a position from 1."""
        count = self.comparison.num_images
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
            recall_levels=self.params.recThrs,
        )

    def _part(self, images: BoolArray) -> "OksMatching":
        """Return the evaluation of some images (``accumulate`` of fewer images reads the wrong ones)."""
        part = copy.copy(self)
        part.params = part._paramsEval = copy.copy(self.params)
        part.params.imgIds = np.flatnonzero(images).tolist()
        part.evalImgs = [found for found, counts in zip(self.evalImgs, itertools.cycle(images), strict=False) if counts]
        return part


def set_parameters(parameters: Any, comparison: Comparison, sizes: Sequence[str]) -> None:
    """Set what COCO's evaluation and its equals are told in their ``params``."""
    parameters.kpt_oks_sigmas = comparison.sigmas
    parameters.imgIds, parameters.catIds = list(range(comparison.num_images)), [PERSON]
    parameters.maxDets = [MAX_PEOPLE]
    parameters.areaRng = [list(ANY_SIZE), *(list(SIZES[size]) for size in sizes)]
    parameters.areaRngLbl = ["all", *sizes]


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep what is printed from the terminal."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
