"""A table's YAML is read strictly: file and field are named."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.metadata import TableMetadata, metadata_to_yaml
from litepose_ofa.latency_tables.table import SHIPPED_DIR
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.validation import validate


@pytest.fixture
def value() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((SHIPPED_DIR / "raspberry_pi_4b.yaml").read_text())
    return read


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 1}, "schema_version is 1; this program reads version 2"),
        ({"threads": True}, "threads is True; it must be an integer from 1 to 1000000, or null"),
        ({"date": datetime.date(2026, 1, 31)}, "date is .*; it must be an ISO date in quotes"),
        ({"date": "20260131"}, "date is '20260131'; it must be an ISO date in quotes"),
        ({"watts": 5}, "unknown key watts"),
        ({"checksum": 5}, "checksum is 5; it must be what .*save writes"),
    ],
)
def test_an_impossible_value_is_named(
    tmp_path: Path, value: dict[str, Any], change: dict[str, object], message: str
) -> None:
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**value, **change}))
    with pytest.raises(InputError, match=rf"t\.yaml: {message}"):
        LatencyTable.load(tmp_path / "t.csv")


def test_numbers_are_plain_floats_whatever_they_were(value: dict[str, Any]) -> None:
    del value["checksum"]
    assert validate(TableMetadata, value).to_dict() == value
    metadata = validate(TableMetadata, {**value, "network_scale": 1, "fit_errors": {"a": np.float64(0.5)}})
    plain = metadata.to_dict()
    assert {type(plain["network_scale"]), type(plain["fit_errors"]["a"])} == {float}
    assert type(plain["batch"]) is int
    assert yaml.safe_load(metadata_to_yaml(metadata, "sha256:0")) == {**plain, "checksum": "sha256:0"}
