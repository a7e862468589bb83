"""Configs of the verbs that measure, choose and export subnets."""

from typing import Annotated, Any, Literal

from pydantic import Field

from litepose_ofa.scripts.settings.base import (
    DeviceSettings,
    ImageSize,
    MeasuringSettings,
    Resamples,
    RunSettings,
    Split,
)
from litepose_ofa.scripts.settings.fields import fields_of
from litepose_ofa.scripts.settings.kinds import Choice, Name, OneOrSeveral, PathText, Text
from litepose_ofa.search.accuracy.active_sampling import RefinementSettings
from litepose_ofa.search.strategies.batches import BatchSettings
from litepose_ofa.search.strategies.evolution import EvolutionSettings
from litepose_ofa.search.study.generations import StopRule, StudySettings
from litepose_ofa.search.workers.session import BackendSettings as Backend
from litepose_ofa.supernet.validation import Count, NonNegative, Positive, Whole

BackendSettings: Any = fields_of(Backend, address=PathText | None)


class EvaluateVerb(MeasuringSettings):
    """``litepose evaluate``."""

    weights: PathText | None
    arch: Text | None
    image_size: ImageSize | None
    split: Split
    engine: Choice
    resamples: Resamples
    breakdown: bool
    save_results: bool


class SampleVerb(MeasuringSettings):
    """``litepose sample``."""

    backend: BackendSettings
    num_subnets: Annotated[int, Field(ge=2, le=1_000_000)]
    spread_over: PathText
    refine: fields_of(RefinementSettings)  # type: ignore[valid-type]


class FitVerb(RunSettings):
    """``litepose fit``."""

    predictor: Choice
    held_out: Annotated[float, Field(gt=0, lt=1)]
    folds: Annotated[int, Field(ge=2, le=1_000)]
    repeats: Annotated[int, Field(ge=1, le=1_000)]
    top_k: Count


class SearchSettings(fields_of(StudySettings, StopRule)):  # type: ignore[misc]
    """The ``search`` group."""

    strategy: Choice
    verify_top: Whole
    evolution: fields_of(EvolutionSettings)  # type: ignore[valid-type]
    batches: fields_of(BatchSettings)  # type: ignore[valid-type]


class SearchVerb(MeasuringSettings):
    """``litepose search``."""

    device: DeviceSettings
    search: SearchSettings
    backend: BackendSettings
    evaluator: Literal["predictor", "supernet", "published"]
    published: Literal["crowdpose", "coco"]
    devices: Annotated[list[Name], OneOrSeveral, Field(min_length=1)] | None
    goal: Literal["front", "shared"]
    tier: Name
    budget_ms: Positive | Literal["none"] | dict[Name, Positive | Literal["none"]] | None
    fps: Positive | None
    max_macs: Positive | None
    max_params: Positive | None
    max_peak_memory_bytes: Positive | None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None
    people_per_frame: NonNegative
    warm_start: PathText | None
    storage: PathText | None


class ReportVerb(MeasuringSettings):
    """``litepose report``."""

    samples: Annotated[int, Field(ge=0, le=1_000)]


class SensitivityVerb(MeasuringSettings):
    """``litepose sensitivity``."""

    base: Text
    devices: Annotated[list[PathText], OneOrSeveral, Field(min_length=1)]
    split: Split
    supernet: PathText | None
