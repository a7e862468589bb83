"""Configs of the verbs that make latency tables."""

from typing import Annotated

from pydantic import Field

from litepose_ofa.latency_tables.decoding.measurement import DecodingSettings
from litepose_ofa.scripts.settings.base import DeviceSettings, RunSettings
from litepose_ofa.scripts.settings.fields import fields_of
from litepose_ofa.scripts.settings.kinds import Choice, Name, OneOrSeveral, PathText
from litepose_ofa.supernet.validation import Fraction

Keypoints = Annotated[int, Field(ge=1, le=1_000)]
KeypointNumbers = Annotated[list[Keypoints], OneOrSeveral, Field(min_length=1)]
Spaces = Annotated[list[Choice], OneOrSeveral]


class ProfileVerb(RunSettings):
    """``litepose profile``."""

    runtime: Name
    spaces: Spaces
    num_keypoints: KeypointNumbers
    sample: Fraction | None
    networks: Annotated[int, Field(ge=0, le=10_000)]
    table: PathText | None
    output: PathText


class BuildTableVerb(RunSettings):
    """``litepose build-table``."""

    kit: PathText
    measurements: PathText | None
    name: Name
    output: PathText
    spaces: Spaces
    num_keypoints: KeypointNumbers
    extend: bool


class ValidateTableVerb(RunSettings):
    """``litepose validate-table``."""

    table: PathText
    kit: PathText | None
    measurements: Annotated[list[PathText], OneOrSeveral]
    num_keypoints: Keypoints
    record: bool


class EstimatedDevice(DeviceSettings):
    """The ``device`` group where a name is enough: the table is to be made."""

    table: PathText | None = None  # type: ignore[assignment]


class EstimateTablesVerb(RunSettings):
    """``litepose estimate-tables``."""

    device: EstimatedDevice | None = None
    class_models: PathText | None
    spaces: Spaces
    num_keypoints: KeypointNumbers
    output: PathText


class MeasureDecodingVerb(RunSettings, fields_of(DecodingSettings)):  # type: ignore[misc]
    """``litepose measure-decoding``."""

    name: Name
    output: PathText
