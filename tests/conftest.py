"""Fixtures that every test may use."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REFERENCE = Path(os.environ.get("LITEPOSE_REFERENCE", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def reference_path() -> Callable[[str], Path]:
    """Find a reference file (golden values, public data), or skip the test with a reason."""

    def find(name: str) -> Path:
        path = REFERENCE / name
        if not path.exists():
            pytest.skip(f"reference file {name} is absent (LITEPOSE_REFERENCE names its folder)")
        return path

    return find
