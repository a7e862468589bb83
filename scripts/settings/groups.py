"""Models of the config groups, of what every verb's config holds, and of values that several verbs have."""

from typing import Annotated, Any, Literal

from pydantic import Field

from litepose_ofa.scripts.settings.fields import (
    Choice,
    Name,
    OneOrSeveral,
    PathText,
    SomeWorkers,
    Text,
    Workers,
    fields_of,
)
from litepose_ofa.search.strategies.batches import BatchSettings
from litepose_ofa.search.strategies.evolution import EvolutionSettings
from litepose_ofa.search.study.generations import StopRule, StudySettings
from litepose_ofa.search.tuning.trials import HalvingSettings, SamplingSettings
from litepose_ofa.search.workers.session import BackendSettings as Backend
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.loading.augmentation import Augmentation
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.training.recipe import Phase, WarmupCosine, WarmupSteps
from litepose_ofa.supernet.training.recipe import TrainingSettings as NetworkTraining
from litepose_ofa.supernet.validation import Checked, Count, Fraction, NonNegative, Positive

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What every random generator takes."""

Split = Literal["train", "search", "val"]
ImageSize = Annotated[int, Field(ge=1, le=2**16)]
Resamples = Annotated[int, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(gt=0, le=1)]
Keypoints = Annotated[int, Field(ge=1, le=1_000)]
KeypointNumbers = Annotated[list[Keypoints], OneOrSeveral, Field(min_length=1)]
Spaces = Annotated[list[Choice], OneOrSeveral]


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


SpaceSettings: Any = fields_of(SearchSpace, name=Name)
EvaluationSettings: Any = fields_of(InferenceSettings, batch_size=Count, bn_images=Count, bn_batch_size=Count)
BackendSettings: Any = fields_of(Backend, address=PathText | None, cpus_per_worker=Positive | None)


class RunSettings(Checked):
    """``conf/base.yaml``."""

    seed: Seed
    accelerator: Literal["auto", "cpu", "cuda"]
    threads: Literal["auto"] | SomeWorkers
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


class SearchSettings(fields_of(StudySettings, StopRule)):  # type: ignore[misc]
    """The ``search`` group."""

    strategy: Literal["surrogate", "evolution", "random", "optuna_nsga2", "optuna_tpe"]
    evolution: fields_of(EvolutionSettings)  # type: ignore[valid-type]
    batches: fields_of(BatchSettings)  # type: ignore[valid-type]


LearningRateSettings: Any = fields_of(
    WarmupCosine,
    WarmupSteps,
    schedule=Literal["cosine", "steps"],
    milestones=list[Fraction] | None,
    factor=Positive | None,
)


class MixtureMember(Checked):
    """A further dataset of a training, by default in LSPET's layout, below ``data_root`` and its name."""

    share: Annotated[float, Field(ge=0, lt=1)]
    unlabelled_weight: Fraction = 1.0
    skeleton: Text | dict[str, Any] | None = None
    root: PathText | None = None
    annotations: PathText = "annotations/person_keypoints_train.json"
    images: PathText = "images"


TrainingSettings: Any = fields_of(
    NetworkTraining,
    without=("seed",),
    steps=Count | None,
    epochs=Positive | None,
    learning_rate=LearningRateSettings,
    num_random=int,
    workers=Workers,
    augmentation=fields_of(Augmentation),
    mixture=dict[Name, MixtureMember] | None,
    max_people=Count,
    validation_images=Count,
)


class RecipePhase(fields_of(Phase, without=("name", "steps", "learning_rate"))):  # type: ignore[misc]
    """A phase: its length is one of ``share``, ``steps`` and ``epochs``."""

    share: Share | None = None
    steps: Count | None = None
    epochs: Positive | None = None
    rate: Positive = 1.0


class RecipeSettings(Checked):
    """The ``recipe`` group."""

    phases: dict[Name, RecipePhase]


class TeacherSettings(Checked):
    """A network to learn from."""

    weights: PathText | None
    arch: PathText | None


class TuneSettings(fields_of(SamplingSettings, HalvingSettings, without=("gpus",))):  # type: ignore[misc]
    """The ``tune`` group."""

    name: Literal["none", "asha"]
    cpus: SomeWorkers = 1
    max_concurrent: SomeWorkers = 1
    gpus: NonNegative | None = None
