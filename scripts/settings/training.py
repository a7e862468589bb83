"""Configs of the verbs that train: ``train``, ``finetune`` and ``rank-fidelity``."""

from typing import Annotated, Any, Literal

from pydantic import Field

from litepose_ofa.scripts.settings.base import DeviceSettings, MeasuringSettings, Split
from litepose_ofa.scripts.settings.fields import fields_of
from litepose_ofa.scripts.settings.kinds import Name, NotEmpty, PathText, SomeWorkers, Text, Workers
from litepose_ofa.search.tuning.trials import HalvingSettings, SamplingSettings
from litepose_ofa.supernet.data.loading.augmentation import Augmentation
from litepose_ofa.supernet.training.recipe import Phase, WarmupCosine, WarmupSteps
from litepose_ofa.supernet.training.recipe import TrainingSettings as NetworkTraining
from litepose_ofa.supernet.validation import Allowed, Checked, Count, Fraction, NonNegative, Positive

LearningRateSettings: Any = fields_of(
    WarmupCosine,
    WarmupSteps,
    schedule=Literal["cosine", "steps"],
    milestones=list[Fraction] | None,
    factor=Positive | None,
)
TrainingSettings: Any = fields_of(
    NetworkTraining,
    without=("seed",),
    steps=Count | None,
    epochs=Positive | None,
    learning_rate=LearningRateSettings,
    num_random=int,
    workers=Workers,
    augmentation=fields_of(Augmentation),
    max_people=Count,
    validation_images=Count,
)

PhaseSettings: Any = fields_of(Phase, without=("name", "steps", "learning_rate"))
Share = Annotated[float, Field(gt=0, le=1)]


class RecipePhase(PhaseSettings):  # type: ignore[misc]
    """A phase: its length is one of ``share``, ``steps`` and ``epochs``."""

    share: Share | None = None
    steps: Count | None = None
    epochs: Positive | None = None
    rate: Positive = 1.0


class RecipeSettings(Checked):
    """The ``recipe`` group."""

    phases: dict[Name, RecipePhase]


Start = Annotated[str, NotEmpty, Allowed("supernet, scratch, a file of weights or an export folder")]


class TeacherSettings(Checked):
    """A network to learn from."""

    weights: PathText | None
    arch: PathText | None


class TrainVerb(MeasuringSettings):
    """``litepose train``."""

    training: TrainingSettings
    recipe: RecipeSettings
    init_from: PathText | None
    teacher: TeacherSettings


class TuneSettings(fields_of(SamplingSettings, HalvingSettings, without=("gpus",))):  # type: ignore[misc]
    """The ``tune`` group."""

    name: Literal["none", "asha"]
    cpus: SomeWorkers = 1
    max_concurrent: SomeWorkers = 1
    gpus: NonNegative | None = None


class FinetuneVerb(MeasuringSettings):
    """``litepose finetune``."""

    device: DeviceSettings
    training: TrainingSettings
    tune: TuneSettings
    tier: Name
    arch: Text | None
    start: Start
    share: Share
    rate: Positive
    teacher: TeacherSettings


class RankFidelityVerb(MeasuringSettings):
    """``litepose rank-fidelity``."""

    training: TrainingSettings
    num_subnets: Annotated[int, Field(ge=3, le=10_000)]
    macs_tolerance: Positive
    seeds: Annotated[int, Field(ge=1, le=1_000)]
    top_k: Count
    supernet: PathText | None
    split: Split
    parallel: SomeWorkers
    gpus: NonNegative
