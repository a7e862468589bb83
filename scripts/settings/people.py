"""Configs of the verbs that render, check and find people."""

from typing import Annotated, Any

from pydantic import Field

from litepose_ofa.scripts.settings.base import ImageSize, MeasuringSettings, RunSettings
from litepose_ofa.scripts.settings.fields import fields_of
from litepose_ofa.scripts.settings.kinds import Name, PathText, SomeWorkers, Text
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings as RenderedPeople
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.pictures.prediction import PredictionOptions

Images = Annotated[int, Field(ge=1, le=10_000_000)]

PeopleSettings: Any = fields_of(RenderedPeople)


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


class PredictVerb(MeasuringSettings, fields_of(PredictionOptions)):  # type: ignore[misc]
    """``litepose predict``."""

    input: PathText
    model: PathText
    output: PathText
    arch: Text | None
    image_size: ImageSize | None
    inference: fields_of(InferenceSettings)  # type: ignore[valid-type]
    supernet: PathText
