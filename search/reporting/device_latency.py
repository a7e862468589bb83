"""The latency that a finished search counted with: its table and its decoding cost, as they were then."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

DEVICE = "device"


@dataclass(frozen=True)
class DeviceLatency:
    """Latencies of any architecture on a device.

    Attributes:
        table: The device's table.
        decoding: What a frame costs beyond its network, where the latencies are a frame's.
        people: People in such a frame.
    """

    table: LatencyTable
    decoding: DecodingCost | None = None
    people: float = 5

    @classmethod
    def load(cls, table: str, digest: str, decoding: Mapping[str, Any] | None = None) -> Self:
        """Load what a search used.

        Args:
            table: Name or path of the table.
            digest: Its digest at the time.
            decoding: The search's record of its decoding cost, if it had one.

        Raises:
            InputError: If one of them is gone, or has changed since.
        """
        loaded = LatencyTable.load(table)
        if loaded.digest != digest:
            raise InputError(f"latency table {table} has changed since the search")
        if decoding is None:
            return cls(loaded)
        cost = DecodingCost.load(decoding["measured_on"])
        if cost.digest != decoding["digest"]:
            raise InputError(f"decoding cost {decoding['measured_on']} is not the one that the search used")
        return cls(loaded, cost, decoding["people"])

    def cost_model(self, space: SearchSpace, num_keypoints: int = 14) -> CostModel:
        """Return the costs of a space's genomes; its one device is called ``DEVICE``.

        Raises:
            InputError: If the table lacks an operator of the space.
        """
        decoding = {} if self.decoding is None else {DEVICE: self.decoding}
        return CostModel(
            space, tables={DEVICE: self.table}, num_keypoints=num_keypoints, decoding=decoding, people=self.people
        )

    def ms(self, archs: Iterable[Arch], num_keypoints: int = 14) -> NDArray[np.float64]:
        """Return the latencies of n architectures in ms, shape (n,).

        Raises:
            InputError: If the table lacks an operator, or the decoding cost an image size.
        """
        return np.array([self._ms(arch, num_keypoints) for arch in archs], np.float64)

    def _ms(self, arch: Arch, num_keypoints: int) -> float:
        decoding_ms = 0.0 if self.decoding is None else self.decoding.ms(arch.image_size, self.people)
        return self.table.estimate(arch, num_keypoints).ms + decoding_ms
