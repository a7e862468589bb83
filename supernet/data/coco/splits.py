"""The three splits of a dataset: to train on, to choose architectures on, to report on; no image is in two of them."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset, OnBadImage
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import Count, Whole, settings

Split = Literal["train", "search", "val"]
SPLITS: tuple[Split, ...] = ("train", "search", "val")


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """A split with files of its own: the COCO keypoints JSON, and the folder that its file names are in."""

    annotations: Path
    images: Path

    def image_paths(self, file_names: Iterable[str]) -> set[str]:
        """Return where images of the folder are, links to it followed."""
        folder = self.images.resolve()
        return {f"{folder}/{name}" for name in file_names}

    def may_share_images(self, other: "SplitFiles") -> bool:
        """Say whether the folder of one is the other's or in it."""
        own, others = self.images.resolve(), other.images.resolve()
        return own == others or own in others.parents or others in own.parents


@settings
class Holdout:
    """A split that is taken out of the training images, drawn by a seed of its own.

    Attributes:
        seed: Seed of the draw.
        holdout_images: How many; or
        holdout_fraction: what fraction of the training images, rounded.
    """

    seed: Whole
    holdout_images: Count | None = None
    holdout_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        if (self.holdout_images is None) == (self.holdout_fraction is None):
            raise InputError("holdout_images and holdout_fraction: give one of them")

    def count(self, num_images: int) -> int:
        """Return how many of so many images are held out."""
        if self.holdout_images is not None:
            return self.holdout_images
        assert self.holdout_fraction is not None
        return math.floor(self.holdout_fraction * num_images + 0.5)

    def describe(self, held_out: KeypointDataset) -> dict[str, Any]:
        """Return the definition, and a digest of the images it gave."""
        given = {
            name: value for name, value in dataclasses.asdict(self).items() if name != "seed" and value is not None
        }
        return {**given, "seed": self.seed, "images": held_out.digest}


def shared_images(paths: Mapping[str, set[str]]) -> Iterator[tuple[str, str, set[str]]]:
    """Yield the pairs of splits that have images in common, and those images."""
    for (name, own), (other, others) in itertools.combinations(paths.items(), 2):
        if own & others:
            yield name, other, own & others


@dataclass(frozen=True)
class DatasetSplits:
    """Where the splits of a dataset come from; loads one, held apart from the others.

    A validation split without files of its own is held out of the training images first, then a search split out of the
    rest, so that what is reported on does not depend on what is searched on.

    Attributes:
        skeleton: The keypoints.
        train: The training files.
        search: Where architectures are chosen.
        val: Where they are reported on.
        on_bad_image: For readers of many images.
    """

    skeleton: Skeleton
    train: SplitFiles
    search: SplitFiles | Holdout
    val: SplitFiles | Holdout
    on_bad_image: OnBadImage = "error"

    def load(self, split: str) -> KeypointDataset:
        """Load one split.

        Raises:
            InputError: If the split is unknown, its files are missing or not of the skeleton, a holdout leaves nothing,
                or its files share an image with those of another split.
        """
        if split not in SPLITS:
            raise InputError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
        self._require_apart()
        files = self.files()
        return self._load(files[split]) if split in files and split != "train" else self._parts()[split]

    def files(self) -> dict[str, SplitFiles]:
        """Return the splits that have files of their own."""
        sources = {"train": self.train, "search": self.search, "val": self.val}
        return {name: source for name, source in sources.items() if isinstance(source, SplitFiles)}

    def load_further(self, files: SplitFiles, skeleton: Skeleton) -> KeypointDataset:
        """Load files that are trained on beside the training images.

        Raises:
            InputError: If they are missing or not of the skeleton, or share an image with the splits search or val.
        """
        further = KeypointDataset.load(files.annotations, files.images, skeleton, on_bad_image=self.on_bad_image)
        sources = self.files()
        for name in SPLITS[1:]:
            source = sources.get(name, self.train)
            if source.annotations.exists() and source.may_share_images(files):
                held = source.image_paths(self.load(name).file_names)
                for shared in sorted(held & files.image_paths(further.file_names))[:1]:
                    raise InputError(f"{files.annotations}: has {shared} of the split {name}; no image may be in both")
        return further

    def _load(self, files: SplitFiles) -> KeypointDataset:
        return KeypointDataset.load(files.annotations, files.images, self.skeleton, on_bad_image=self.on_bad_image)

    def _require_apart(self) -> None:
        """Refuse files that name an image which the files of another split name; files that are not there name none."""
        files = {name: files for name, files in self.files().items() if files.annotations.exists()}
        pairs = itertools.permutations(files, 2)
        related = {name for name, other in pairs if files[name].may_share_images(files[other])}
        paths = {name: files[name].image_paths(self._load(files[name]).file_names) for name in sorted(related)}
        for name, other, shared in shared_images(paths):
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise InputError(f"the splits {name} and {other} share {min(shared)}{more}; no image may be in two")

    def held_out(self) -> dict[str, dict[str, Any]]:
        """Return how the splits without files were held out of the training images, for the record of a training."""
        holdouts = self._holdouts()
        parts = self._parts() if holdouts else {}
        return {name: holdout.describe(parts[name]) for name, holdout in sorted(holdouts.items())}

    def require_unseen(self, trained_with: Mapping[str, Any], network: str) -> None:
        """Refuse a network that was trained on images which are held out now.

        Args:
            trained_with: What ``held_out`` returned when it was trained.
            network: What messages call it.
        """
        for split, now in self.held_out().items():
            before = trained_with.get(split)
            if not isinstance(before, Mapping) or before.get("images") != now["images"]:
                then = "nothing" if before is None else before
                message = f"it was trained with {then} held out for {split}; the dataset holds out {now}"
                raise InputError(f"{network}: has seen images of the split {split}: {message}")

    def _parts(self) -> dict[str, KeypointDataset]:
        """Return what the training files become: train, and the splits that are held out of it."""
        parts = {"train": self._load(self.train)}
        total = len(parts["train"])
        for name, holdout in self._holdouts().items():
            parts["train"], parts[name] = parts["train"].holdout(holdout.count(total), holdout.seed)
        return parts

    def _holdouts(self) -> dict[str, Holdout]:
        sources = {"val": self.val, "search": self.search}
        return {name: source for name, source in sources.items() if isinstance(source, Holdout)}
