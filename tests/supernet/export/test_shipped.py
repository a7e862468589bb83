"""A name stands for a shipped network, a path for itself; what was damaged is refused."""

import logging
import shutil
from pathlib import Path

import pytest

from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export import shipped
from litepose_ofa.supernet.export.shipped import named_path, shipped_names, shipped_predictor, tell_shipped

NAMES = ["small", "small-l", "small-m", "small-s", "small-xs"]


def test_a_name_is_found_and_its_worth_is_told(stand_in: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert shipped_names() == NAMES
    assert named_path("small", "init_from") == stand_in / "small" / "supernet.safetensors"
    assert named_path("small-m", "model") == stand_in / "small-m"
    assert shipped_predictor("small", "supernet") == stand_in / "small" / "predictor.safetensors"
    tell_shipped("mine", None, "small-m")
    (line,) = caplog.messages
    assert line.startswith("small-m, shipped: small-m AP 12.3 (11.1 to 13.4), AP50 45.6, AR50 56.7 on 1,000 of lspet;")
    assert "trained on lspet (research set, cite Johnson and Everingham, CVPR 2011), no_people (research use" in line
    assert line.endswith(str(stand_in / "small-m" / "card.md"))


def test_a_name_goes_before_a_file_of_that_name_and_a_path_does_not(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("small-m", "mine"):
        (tmp_path / name).mkdir()
    assert named_path("small-m", "model") == stand_in / "small-m"
    assert named_path("./small-m", "model") == Path("small-m")
    assert named_path("mine", "model") == Path("mine")
    assert named_path("gone/small-m", "model") == Path("gone/small-m")
    assert named_path("gone.safetensors", "model") == Path("gone.safetensors")


def test_an_unknown_name_is_told_with_those_that_ship(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"^model is 'small-q'; .* ships with this version: small, small-l, small-m,"):
        named_path("small-q", "model")
    with pytest.raises(InputError, match=r"^supernet is 'small-m'; it must be a file, or a supernet that .*: small$"):
        shipped_predictor("small-m", "supernet")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "none")
    with pytest.raises(InputError, match=r"^model is 'small-m'; .* this version ships no networks$"):
        named_path("small-m", "model")


@pytest.mark.parametrize(
    ("name", "file"),
    [("small", "supernet.safetensors"), ("small", "predictor.safetensors"), ("small-m", "card.md")],
)
def test_a_changed_file_is_refused(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    own = Path(shutil.copytree(stand_in, tmp_path / "shipped"))
    monkeypatch.setattr(shipped, "SHIPPED", own)
    path = own / name / file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=f"{file}: is damaged: its SHA-256 .*; install litepose-ofa again$"):
        named_path(name, "model")
    path.unlink()
    with pytest.raises(InputError, match=f"{file}: no such file.*; install litepose-ofa again$"):
        named_path(name, "model")
