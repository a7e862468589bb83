"""Latencies as a search counted them, and those of the published networks."""

import numpy as np
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.reporting.evaluated import DEVICE, DeviceLatency
from litepose_ofa.search.reporting.panels import published_points
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

SPACE = SearchSpace.preset("litepose_released")


def test_published_points() -> None:
    table, decoding = LatencyTable.load("jetson_nano"), DecodingCost.load("host_cpu")
    archs = published_archs()
    points = published_points(DeviceLatency(table), dataset="crowdpose")
    assert [(point.name, point.ap) for point in points] == [("XS", 0.495), ("S", 0.583), ("M", 0.599), ("L", 0.619)]
    assert [point.latency_ms for point in points] == [
        table.estimate(archs[f"search-{point.name}"]).ms for point in points
    ]
    elsewhere = published_points(DeviceLatency(table, decoding, people=3), dataset="people")
    for point, bare in zip(elsewhere, points, strict=True):
        size = archs[f"search-{point.name}"].image_size
        assert (point.ap, point.latency_ms) == (None, bare.latency_ms + decoding.ms(size, 3))


def test_a_device_latency_is_the_one_of_the_search() -> None:
    table, cost = LatencyTable.load("jetson_nano"), DecodingCost.load("host_cpu")
    record = {"measured_on": cost.name, "digest": cost.digest, "people": 7}
    latency = DeviceLatency.load("jetson_nano", table.digest, record)
    assert (latency.decoding, latency.people) == (cost, 7)
    model = latency.cost_model(SPACE)
    genomes = model.codec.sample(5, np.random.default_rng(0))
    np.testing.assert_allclose(model.latency_ms(genomes, DEVICE), latency.ms(model.codec.decode_many(genomes)))
    with pytest.raises(InputError, match="has changed since"):
        DeviceLatency.load("jetson_nano", "0" * 12)
    with pytest.raises(InputError, match="is not the one that the search used"):
        DeviceLatency.load("jetson_nano", table.digest, {**record, "digest": "0" * 12})
