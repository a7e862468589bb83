"""The search scripts on a workspace of synthetic accuracies: files, going on, and what they refuse."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from numpy.typing import NDArray

from latency_tables import LatencyTable
from latency_tables.decoding import DecodingCost
from scripts import fit_predictor, run_search
from search.cost import CostModel
from search.genome import Genomes
from search.sampling import AccuracySamples, stratified_genomes
from supernet.arch import Arch
from supernet.files import read_json

Accuracies = Callable[[Genomes], NDArray[np.float64]]
SMALL = [
    "search.first=8",
    "search.batch=8",
    "search.generations=1",
    "search.verify_top=0",
    "search.evolution.population=30",
]


@pytest.fixture(scope="module")
def workspace(tiny_cost: CostModel, tiny_ap: Accuracies, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    genomes = stratified_genomes(tiny_cost, 30, np.random.default_rng(0))
    samples = AccuracySamples(tiny_cost.space, 14, {"weights": "w"}, genomes, tiny_ap(genomes))
    samples.save(folder / "accuracies" / "samples.json")
    return folder


@pytest.fixture(scope="module")
def run(workspace: Path) -> Iterator[Callable[..., None]]:
    with pytest.MonkeyPatch.context() as patch:

        def start(main: Callable[[], None], *overrides: str) -> None:
            patch.setattr(sys, "argv", ["script", f"workspace={workspace}", *overrides])
            try:
                main()
            finally:
                GlobalHydra.instance().clear()

        yield start


@pytest.fixture(scope="module", autouse=True)
def _searched(run: Callable[..., None]) -> None:
    """One device and tier of the workspace is searched before any test."""
    run(fit_predictor.main)
    run(run_search.main, "device=jetson_nano", "tier=l", *SMALL)


def test_from_samples_to_a_chosen_subnet(
    run: Callable[..., None], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace / "search" / "jetson_nano" / "l"
    chosen = read_json(folder / "chosen.json")
    arch = Arch.from_dict(chosen["arch"])
    assert chosen["arch_digest"] == arch.digest
    assert chosen["latency_ms"] <= chosen["budget_ms"]
    assert (folder / "front.csv").read_text().splitlines()[1].startswith(arch.digest)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".json", ".csv"}}
    run(run_search.main, "device=jetson_nano", "tier=l", *SMALL)
    assert "already searched" in capsys.readouterr().out
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.name in before}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["device=toaster"], "jetson_nano raspberry_pi_4b snapdragon_855"),
        (["tier=xxl"], "device raspberry_pi_4b has no tier 'xxl' for space 'tiny'; known: xs, s, m, l"),
        (["budget_ms=0.01", "tier=none"], "the least possible latency is"),
        (["device.name=mine"], "device mine has no budgets of its own; give budget_ms="),
        (["device.table=mine"], "unknown latency table 'mine'; shipped:"),
        (["search.evaluator=oracle"], "search.evaluator is 'oracle'; known: predictor, supernet"),
        (["space=litepose"], "the predictor was fitted on space 'tiny', not on this 'litepose'"),
        (["seed=1", "device=jetson_nano", "tier=l", *SMALL], "seed was 0, is 1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        run(run_search.main, *overrides)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_frame_budget_is_searched_and_recorded(
    run: Callable[..., None], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = ["device.decoding=host_cpu", "people_per_frame=3", "budget_ms=8", "tier=frame"]
    run(run_search.main, "device=jetson_nano", *frame, *SMALL)
    assert "the decoding cost of host_cpu: an assumption for this device" in capsys.readouterr().out
    chosen = read_json(workspace / "search" / "jetson_nano" / "frame" / "chosen.json")
    arch, table = Arch.from_dict(chosen["arch"]), LatencyTable.load("jetson_nano")
    decoding = DecodingCost.load("host_cpu")
    expected = table.estimate(arch).ms + decoding.ms(arch.image_size, 3)
    assert chosen["latency_ms"] == pytest.approx(expected)
    assert chosen["latency_ms"] <= 8
    sources = chosen["latency_sources"]
    assert sources["network"]["digest"] == table.digest
    assert sources["decoding"] == {
        "measured_on": "host_cpu",
        "digest": decoding.digest,
        "people": 3,
        "provenance": "assumed",
    }
    assert chosen["search"]["decoding"] == sources["decoding"]
