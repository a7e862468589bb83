"""Configs of the verbs that render, check and find people."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from litepose_ofa.scripts.settings.base import FINDING, ImageSize, MeasuringSettings, RunSettings
from litepose_ofa.scripts.settings.fields import fields_of
from litepose_ofa.scripts.settings.kinds import (
    Name,
    PathText,
    SomeWorkers,
    Text,
)
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings as RenderedPeople
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.validation import Count, Positive, Whole

Images = Annotated[int, Field(ge=1, le=10_000_000)]

PeopleSettings: Any = fields_of(RenderedPeople, image_size=Count | Annotated[tuple[Count, Count], Strict(False)])


class GeneratePeopleVerb(RunSettings):
    """``litepose generate-people``."""

    people: PeopleSettings
    images: dict[Name, Images]
    poses_from: PathText | None
    workers: SomeWorkers


class CheckDatasetVerb(RunSettings):
    """``litepose check-dataset``."""

    workers: SomeWorkers
    samples: Annotated[int, Field(ge=0, le=10_000)]


class PredictVerb(MeasuringSettings):
    """``litepose predict``."""

    input: PathText
    model: PathText
    output: PathText
    arch: Text | None
    image_size: ImageSize | None
    inference: fields_of(InferenceSettings, **FINDING)  # type: ignore[valid-type]
    batch_size: Count
    min_score: Annotated[float, Field(ge=-1, le=1)]
    sheet: Whole
    on_bad_image: Literal["skip", "error"]
    max_megapixels: Positive
    supernet: PathText
