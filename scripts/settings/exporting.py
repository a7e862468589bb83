"""The config of ``litepose export``."""

from typing import Annotated

from pydantic import Field

from litepose_ofa.scripts.settings.base import DeviceSettings, MeasuringSettings, Resamples
from litepose_ofa.scripts.settings.kinds import Choice, Name, OneOrSeveral, Text
from litepose_ofa.supernet.export.onnx_graph import OPSETS
from litepose_ofa.supernet.export.onnx_model import Batch
from litepose_ofa.supernet.validation import Checked, Count, NonNegative


class OnnxSettings(Checked):
    """``onnx`` of an export."""

    batch: Batch
    opset: Annotated[int, Field(ge=OPSETS.start, le=OPSETS.stop - 1)]


class ExportVerb(MeasuringSettings):
    """``litepose export``."""

    device: DeviceSettings
    tier: Name
    arch: Text | None
    finetuned: bool
    checked_images: Annotated[int, Field(ge=1, le=1_000)]
    formats: Annotated[list[Choice], OneOrSeveral]
    onnx: OnnxSettings
    calibration_images: Count
    measure_formats: bool
    resamples: Resamples
    people_per_frame: NonNegative
