"""What every verb's config holds: the run, the space, the dataset, how networks are evaluated."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from litepose_ofa.scripts.settings.fields import fields_of
from litepose_ofa.scripts.settings.kinds import Name, PathText, SomeWorkers, Text
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.validation import Checked, Count, Positive

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every random generator takes."""
Split = Literal["train", "search", "val"]


class SplitSettings(Checked):
    """Where a split is, or how it is held out of the training images; ``supernet.data.coco.splits`` knows which."""

    annotations: PathText = ""
    images: PathText = ""
    seed: Seed = 0
    holdout_images: Count | None = None
    holdout_fraction: float | None = None


class DatasetSettings(Checked):
    """The ``dataset`` group."""

    name: Name
    skeleton: Text | dict[str, Any]
    root: PathText
    train: SplitSettings
    search: SplitSettings
    val: SplitSettings
    on_bad_image: Literal["error", "skip"]


def _refuse_choices(value: object) -> None:
    raise ValueError("image_sizes, stem_channels, stages and deconv_channels now stand beside name, not below choices")


class SpaceSettings(fields_of(SearchSpace, name=Name)):  # type: ignore[misc]
    """The ``space`` group."""

    choices: Annotated[dict[str, Any] | None, AfterValidator(_refuse_choices)] = None


EvaluationSettings: Any = fields_of(InferenceSettings, batch_size=Count, bn_images=Count, bn_batch_size=Count)


class RunSettings(Checked):
    """``conf/base.yaml``."""

    seed: Seed
    accelerator: Literal["auto", "cpu", "cuda"]
    threads: SomeWorkers | None
    data_root: PathText
    workspace: PathText
    run_folder: PathText
    space: SpaceSettings
    dataset: DatasetSettings


class MeasuringSettings(RunSettings):
    """The same, of the verbs that measure or predict with networks."""

    evaluation: EvaluationSettings


class DeviceSettings(Checked):
    """The ``device`` group."""

    name: Name
    table: PathText
    decoding: PathText | None = None
    published: dict[Name, Positive] | None = None
    budgets_ms: dict[Name, dict[Name, Positive]] | None = None


Resamples = Annotated[int, Field(ge=0, le=1_000_000)]
ImageSize = Annotated[int, Field(ge=1, le=2**16)]
