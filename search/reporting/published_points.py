"""The published LitePose subnets beside what a search found: their published AP, their latency by the same table."""

from dataclasses import dataclass

from litepose_ofa.search.reporting.device_latency import DeviceLatency
from litepose_ofa.supernet.archs.published import PUBLISHED_AP, published_archs

PREFIX = "search-"
"""Of the names of those that the authors published an AP of."""


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """A published subnet on a device.

    Attributes:
        name: ``XS``, ``S``, ``M`` or ``L``.
        latency_ms: By the device's table, with the decoding cost if there is one: as all others in the report.
        ap: Its published AP in [0, 1], trained by its authors; None if there is none on the dataset.
    """

    name: str
    latency_ms: float
    ap: float | None


def published_points(latency: DeviceLatency, *, dataset: str | None, num_keypoints: int = 14) -> list[PublishedPoint]:
    """Return the four published subnets that have a published AP, on a device.

    Args:
        latency: The device's latency.
        dataset: Whose AP the report is about.
        num_keypoints: K of the networks.

    Raises:
        InputError: If the table lacks one of their operators, or the decoding cost an image size.
    """
    aps = PUBLISHED_AP.get(dataset or "", {})
    archs = {name: arch for name, arch in published_archs().items() if name.startswith(PREFIX)}
    return [
        PublishedPoint(name.removeprefix(PREFIX), ms, aps.get(name))
        for name, ms in zip(archs, latency.ms(archs.values(), num_keypoints).tolist(), strict=True)
    ]
