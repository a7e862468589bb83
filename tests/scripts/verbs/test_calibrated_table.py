"""From a spread of networks to a table and a search with it; the board is invented: five times as fast as a Pi."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.files import read_json, read_yaml

SEARCH = ("search.first=8", "search.generations=0", "evaluator=published", "tier=mine")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, start_script: Any) -> Path:
    """A workspace in which nothing was trained, with a spread."""
    workspace = tmp_path_factory.mktemp("board")
    start_script("export", "device=raspberry_pi_4b", "spread=4", f"workspace={workspace}")
    return workspace


@pytest.fixture
def measured(workspace: Path) -> Path:
    """The timings, filled in."""
    blank = workspace / "export" / "raspberry_pi_4b" / "spread" / "timings.csv"
    header, *lines = blank.read_text().splitlines()
    table = LatencyTable.load("raspberry_pi_4b")
    networks = {line: Arch.load(blank.with_name(line.strip(",")) / "arch.json") for line in lines}
    filled = blank.with_name("filled.csv")
    rows = [f"{line}{table.estimate(arch).ms / 5:.4f}" for line, arch in networks.items()]
    filled.write_text("\n".join([header, *rows]) + "\n")
    return filled


def test_a_spread_is_what_a_device_runs(workspace: Path, run_script: Any) -> None:
    spread = workspace / "export" / "raspberry_pi_4b" / "spread"
    names = [line.strip(",") for line in (spread / "timings.csv").read_text().splitlines()[1:]]
    assert sorted(path.name for path in spread.iterdir() if path.is_dir()) == names
    arch, usage = Arch.load(spread / names[0] / "arch.json"), read_yaml(spread / names[0] / "subnet.yaml")
    session = onnxruntime.InferenceSession(spread / names[0] / "model.onnx")
    assert session.get_inputs()[0].shape == usage["input"]["shape"] == [1, 3, arch.image_size, arch.image_size]
    assert (usage["num_keypoints"], "weights" in usage) == (14, False)
    told = run_script("export", "device=raspberry_pi_4b", "spread=4", f"workspace={workspace}").refusal
    assert "spread: is there already, perhaps with timings; move it away" in told


def test_the_command_says_what_comes_next(tmp_path: Path, run_script: Any) -> None:
    printed = run_script(
        "export", "device=jetson_nano", "spread=3", "formats=[onnx_int8]", f"workspace={tmp_path}"
    ).printed
    folder = tmp_path / "export" / "jetson_nano" / "spread"
    assert f"{folder}: 3 networks with random weights, 0.581 to 2.11 ms by jetson_nano" in printed
    assert f"litepose calibrate-table base=jetson_nano measured={folder / 'timings.csv'} name=my_board" in printed
    assert len(list(folder.glob("*/model_int8.onnx"))) == 3


def test_the_table_is_searched_with(workspace: Path, measured: Path, tmp_path: Path, run_script: Any) -> None:
    where = (f"workspace={workspace}", f"output={tmp_path}")
    given = ("base=raspberry_pi_4b", f"measured={measured}", "name=my_board", *where)
    printed = run_script("calibrate_table", *given, "board.threads=2").printed
    assert "5433 operators, an estimate calibrated on 4 networks" in printed
    assert "times the operators of raspberry_pi_4b: stem 0.2, bottleneck 0.2, fusion_deconv 0.2, head 0.2" in printed
    assert "left out networks: 4, MAPE 0.0%" in printed
    assert "80 % interval of a network: its latency +- 0.0%, by Student's t of 4 networks" in printed
    assert f"litepose search device.name=my_board device.table={tmp_path / 'my_board.csv'} budget_ms=0.5" in printed
    table = LatencyTable.load(tmp_path / "my_board.csv")
    assert (table.metadata.provenance, table.metadata.threads) == ("calibrated-estimate", 2)
    command = ("device.name=my_board", f"device.table={tmp_path / 'my_board.csv'}", "budget_ms=0.6")
    assert run_script("search", *command, *SEARCH, f"workspace={tmp_path}").status == 0
    chosen = read_json(tmp_path / "search" / "my_board" / "mine" / "chosen.json")
    assert chosen["search"]["table"] == table.digest
    assert "is there already; move it away, or choose another name" in run_script("calibrate_table", *given).refusal


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("measured=nowhere.csv", "nowhere.csv: no such file"),
        ("base=toaster", "unknown latency table 'toaster'; shipped: "),
        ("name=a/b", "name is 'a/b'; it must be a name of up to 100"),
        ("measured={blank}", "timings.csv, line 2: ms is empty; fill it in"),
        ("num_keypoints=0", "num_keypoints is 0; it must be an integer from 1"),
    ],
)
def test_what_is_refused(
    workspace: Path, measured: Path, tmp_path: Path, run_script: Any, given: str, told: str
) -> None:
    blank = measured.with_name("timings.csv")
    usual = ("base=raspberry_pi_4b", f"measured={measured}", "name=b", f"output={tmp_path / 'tables'}")
    assert told in run_script("calibrate_table", *usual, f"workspace={workspace}", given.format(blank=blank)).refusal
    assert not (tmp_path / "tables").exists()


def test_too_few_networks_and_networks_that_are_chosen_already(
    workspace: Path, measured: Path, tmp_path: Path, run_script: Any
) -> None:
    measured.write_text("\n".join(measured.read_text().splitlines()[:3]) + "\n")
    given = ("base=raspberry_pi_4b", f"measured={measured}", "name=b", f"output={tmp_path}", f"workspace={workspace}")
    told = run_script("calibrate_table", *given).refusal
    assert f"{measured}: 2 networks were timed; a calibration needs at least 3" in told
    told = run_script("export", "spread=4", "arch=smallest", f"workspace={tmp_path}").refusal
    assert "spread chooses the networks itself; leave out arch and finetuned" in told
    assert "spread is 2; it must be an integer from 3 to 100, or null" in run_script("export", "spread=2").refusal
