"""A table's YAML is read strictly: file and field are named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from latency_tables import LatencyTable
from latency_tables.metadata import TableMetadata
from latency_tables.table import SHIPPED_DIR
from supernet.errors import InputError


@pytest.fixture
def value() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((SHIPPED_DIR / "raspberry_pi_4b.yaml").read_text())
    return read


def test_round_trip(value: dict[str, Any]) -> None:
    assert TableMetadata.from_dict(value).to_dict() == value


@pytest.mark.parametrize(
    ("field", "bad", "allowed"),
    [
        ("schema_version", 2, "it must be 1"),
        ("schema_version", "1", "it must be 1"),
        ("device", "", "a text"),
        ("processor", 3, "a text"),
        ("runtime_provenance", "guessed", "stated or inferred"),
        ("threads", 0, "a positive integer"),
        ("threads", True, "a positive integer"),
        ("batch", None, "a positive integer"),
        ("date", None, "an ISO date in quotes"),
        ("provenance", "rumour", "measured or calibrated-estimate"),
        ("network_constant_ms", -1, "at least 0"),
        ("network_constant_spread_ms", "1", "at least 0"),
        ("network_scale", 0, "above 0"),
        ("network_residual", float("nan"), "at least 0"),
        ("fit_errors", [0.1], "a mapping of network names"),
        ("validation_errors", {"LitePose-S": "small"}, "a mapping of network names"),
        ("sources", "one", "a list of texts"),
        ("sources", [1], "a list of texts"),
        ("notes", None, "a text"),
    ],
)
def test_an_impossible_value_is_named(value: dict[str, Any], field: str, bad: object, allowed: str) -> None:
    with pytest.raises(InputError, match=f"^{field} is .*{allowed}"):
        TableMetadata.from_dict({**value, field: bad})


def test_unknown_and_missing_keys_are_named(value: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="unknown key 'watts'"):
        TableMetadata.from_dict({**value, "watts": 5})
    del value["clocks"]
    with pytest.raises(InputError, match="'clocks' is missing"):
        TableMetadata.from_dict(value)
    with pytest.raises(InputError, match="must be a mapping"):
        TableMetadata.from_dict(["a", "list"])


def test_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("schema_version: 7\n")
    with pytest.raises(InputError, match=r"t\.yaml: schema_version is 7; it must be 1"):
        LatencyTable.load(tmp_path / "t.csv")
