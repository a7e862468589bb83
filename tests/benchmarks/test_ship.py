"""What ships is what was trained, rounded, with the figures that the workspace has of it."""

import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch

from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.shipped import SHIPPED
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_supernet, read_weights, weights_digest


@pytest.fixture
def workspace(shippable: Path, tmp_path: Path) -> Path:
    """A copy of the workspace that the test may change."""
    return Path(shutil.copytree(shippable, tmp_path / "small-lspet"))


def test_kernels_are_halved_and_the_rest_is_kept(stand_in: Path, shippable: Path) -> None:
    before = read_weights(shippable / "export" / "host_cpu" / "m" / "weights.safetensors")
    after = read_weights(stand_in / "small-m" / "weights.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        dtype = torch.float16 if tensor.ndim > 1 else tensor.dtype
        assert torch.equal(after[name], tensor.to(dtype)), name
    assert next(load_subnet(stand_in / "small-m" / "weights.safetensors").parameters()).dtype == torch.float32


def test_the_predictor_is_of_the_rounded_weights_and_says_the_same(stand_in: Path, shippable: Path) -> None:
    before = AccuracyPredictor.load(shippable / "predictor" / "predictor.safetensors")
    after = AccuracyPredictor.load(stand_in / "small" / "predictor.safetensors")
    supernet = load_supernet(stand_in / "small" / "supernet.safetensors")
    assert after.identity == {**before.identity, "weights": weights_digest(supernet), "dataset": "lspet"}
    assert (after.predict_ap(before.genomes) == before.predict_ap(before.genomes)).all()


def test_cards_have_the_figures_the_sets_and_the_citations(stand_in: Path) -> None:
    for name, network in (("small", "largest subnet"), ("small-m", "small-m")):
        card = (stand_in / name / "card.md").read_text()
        assert f"| {network} | 1,000 of lspet | 12.3 (11.1 to 13.4) | 45.6 | 56.7 |" in card
        assert "`lspet`, 8,500 images" in card
        assert "Johnson and M. Everingham, Learning Effective Human Pose Estimation" in card
        assert "`no_people`, 900 images" in card
    assert "Kendall tau of 0.90 (0.80, 1.00)" in (stand_in / "small" / "card.md").read_text()


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("evaluations/*", "has no measurement of largest subnet on the val split; run litepose evaluate arch=largest"),
        ("predictor/predictor.safetensors", "litepose fit"),
        ("export/host_cpu/s/manifest.json", "litepose export"),
    ],
)
def test_what_is_missing_is_told_and_nothing_is_written(
    ship: ModuleType, workspace: Path, tmp_path: Path, missing: str, told: str
) -> None:
    for path in workspace.glob(missing):
        path.unlink()
    with pytest.raises(InputError, match=told):
        ship.ship([workspace], tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_another_networks_measurement_is_no_substitute(ship: ModuleType, workspace: Path, tmp_path: Path) -> None:
    weights = json.loads((workspace / "export" / "host_cpu" / "l" / "manifest.json").read_text())["weights"]
    (path,) = (workspace / "evaluations").glob(f"*_{weights}_val.json")
    path.write_text(path.read_text().replace(weights, "0" * 12))
    with pytest.raises(InputError, match=r"no measurement of small-l .* weights=.*host_cpu/l split=val"):
        ship.ship([workspace], tmp_path / "shipped")


def test_what_rounding_changes_is_refused(
    ship: ModuleType, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "MOST_DIFFERENCE", 1e-7)
    with pytest.raises(InputError, match="rounding to float16 changes outputs"):
        ship.ship([workspace], tmp_path / "shipped")


def test_a_dataset_of_unknown_terms_is_refused(
    ship: ModuleType, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ship.TERMS, "no_people")
    with pytest.raises(InputError, match="was trained on no_people, whose terms"):
        ship.ship([workspace], tmp_path / "shipped")


@pytest.mark.parametrize("which", ["stand-in", "real"])
def test_what_ships_is_small(ship: ModuleType, stand_in: Path, which: str) -> None:
    folder = stand_in if which == "stand-in" else SHIPPED
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= ship.MOST_BYTES
