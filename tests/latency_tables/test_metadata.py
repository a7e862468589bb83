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


@pytest.fixture
def value() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((SHIPPED_DIR / "raspberry_pi_4b.yaml").read_text())
    del read["checksum"]
    return read


def test_round_trip(value: dict[str, Any]) -> None:
    assert TableMetadata.from_dict(value).to_dict() == value


@pytest.mark.parametrize(
    ("field", "bad", "allowed"),
    [
        ("schema_version", 1, "this program reads version 2"),
        ("schema_version", None, "this program reads version 2"),
        ("device", "", "a text"),
        ("runtime_provenance", "guessed", "stated, inferred"),
        ("threads", True, "an integer from 1 to 1000000, or null"),
        ("threads", 10**400, "an integer from 1 to 1000000, or null"),
        ("date", datetime.date(2026, 1, 31), "an ISO date in quotes"),
        ("date", "20260131", "an ISO date in quotes"),
        ("network_scale", float("inf"), "above 0"),
        ("fit_errors", [0.1], "a mapping of network names"),
        ("interval_coverage", 1.01, "a number from 0 to 1, or null"),
        ("sources", "one", "a list"),
    ],
)
def test_an_impossible_value_is_named(value: dict[str, Any], field: str, bad: object, allowed: str) -> None:
    with pytest.raises(InputError, match=f"^{field} is .*{allowed}") as caught:
        TableMetadata.from_dict({**value, field: bad})
    assert "\n" not in str(caught.value)


def test_unknown_and_missing_keys_are_named(value: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="unknown key watts"):
        TableMetadata.from_dict({**value, "watts": 5})
    del value["clocks"]
    with pytest.raises(InputError, match="clocks is missing"):
        TableMetadata.from_dict(value)
    with pytest.raises(InputError, match="must be a mapping"):
        TableMetadata.from_dict(["a", "list"])


def test_numbers_are_plain_floats_whatever_they_were(value: dict[str, Any]) -> None:
    metadata = TableMetadata.from_dict({**value, "network_scale": 1, "fit_errors": {"a": np.float64(0.5)}})
    plain = metadata.to_dict()
    assert {type(plain["network_scale"]), type(plain["fit_errors"]["a"])} == {float}
    assert type(plain["batch"]) is int
    assert yaml.safe_load(metadata_to_yaml(metadata, "sha256:0")) == {**plain, "checksum": "sha256:0"}


def test_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("schema_version: 7\n")
    with pytest.raises(InputError, match=r"t\.yaml: schema_version is 7; this program reads version 2"):
        LatencyTable.load(tmp_path / "t.csv")


@pytest.mark.parametrize("checksum", [None, 5])
def test_a_missing_checksum_is_named(tmp_path: Path, value: dict[str, Any], checksum: object) -> None:
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**value, "checksum": checksum}))
    with pytest.raises(InputError, match=rf"t\.yaml: checksum is {checksum}; it must be what .*save writes"):
        LatencyTable.load(tmp_path / "t.csv")
