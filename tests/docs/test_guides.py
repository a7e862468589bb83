"""The guides' figures and code: tables of the comparison, estimates for COCO, and the Python of the pages."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.coverage import coverage
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.published import PUBLISHED_AP, published_archs
from litepose_ofa.supernet.archs.space import PRESETS, SearchSpace
from litepose_ofa.supernet.network.checkpoints import load_weights
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet

DEVICES = ("jetson_nano", "snapdragon_855", "raspberry_pi_4b")
NAMES = ("search-XS", "search-S", "search-M", "search-L")

Rows = dict[str, list[str]]


@pytest.fixture(scope="module")
def rows_of(root: Path) -> Callable[[str, str], Rows]:
    """Return the tables below a heading: the cells of every row by the first one."""

    def find(page: str, heading: str) -> Rows:
        section = (root / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
        rows = (line.split("|") for line in re.findall(r"^\|(.+)\|$", section, re.MULTILINE))
        return {name.strip(" `"): [cell.strip() for cell in cells] for name, *cells in rows}

    return find


@pytest.fixture
def run_python(all_blocks: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """Run the Python blocks of a page that need nothing, each by itself, in an empty folder; return their names."""

    def run(page: str) -> list[Any]:
        monkeypatch.chdir(tmp_path)
        namespaces = []
        for block in all_blocks:
            if block.page == page and block.language == "python" and block.needs is None:
                namespaces.append({})
                exec(compile(block.text, f"{page}:{block.line}", "exec", dont_inherit=True), namespaces[-1])
        return namespaces

    return run


def test_published_accuracies_and_sizes_are_the_code_s(rows_of: Callable[[str, str], Rows]) -> None:
    accuracies = rows_of("docs/comparison.md", "Accuracy")
    for name, dataset in (("CrowdPose test", "crowdpose"), ("COCO val", "coco")):
        assert accuracies[name] == [f"{100 * PUBLISHED_AP[dataset][arch]:.1f}" for arch in NAMES]
    sizes = rows_of("docs/comparison.md", "Size and arithmetic")
    for name, arch in published_archs().items():
        found = measure_complexity(arch)
        counted = [found.params / 1e6, found.macs / 1e9, found.macs_as_published / 1e9]
        assert sizes[name][:4] == [str(arch.image_size), *(f"{value:.3f}" for value in counted)]
        assert sizes[name][5] == f"{found.peak_activation_bytes / 2**20:.1f}"


def test_estimates_are_the_shipped_tables(rows_of: Callable[[str, str], Rows]) -> None:
    cells = rows_of("docs/comparison.md", "Latency")
    for column, device in enumerate(DEVICES):
        table = LatencyTable.load(device)
        for name in NAMES:
            found = table.estimate(published_archs()[name])
            shown = f"{found.ms:.1f} ({found.low_ms:.1f}-{found.high_ms:.1f})"
            assert cells[name][2 * column + 1] == shown, (device, name)
            error = found.ms / float(cells[name][2 * column]) - 1
            assert error == pytest.approx(table.metadata.fit_errors[f"LitePose-{name[7:]}"], abs=0.006)


def test_the_spaces_are_counted(rows_of: Callable[[str, str], Rows]) -> None:
    cells = rows_of("README.md", "The spaces")
    for name in PRESETS:
        space, sizes = SearchSpace.preset(name), re.findall(r"\d+", cells[name][0])
        assert [int(sizes[0]), int(sizes[-1])] == [space.image_sizes[0], space.image_sizes[-1]]
        assert float(cells[name][-1].replace(",", "")) in (space.size, float(f"{space.size:.2g}"))


def test_the_tables_of_the_device_page(run_python: Callable[[str], list[Any]]) -> None:
    (by_hand,) = run_python("docs/own_device.md")
    table = LatencyTable.load("my_board.csv")
    found = coverage(table, SearchSpace.preset("tiny"))
    assert found.total("measured") == len(table.rows) == len(by_hand["rows"])
    assert found.missing == ()


def test_the_start_of_the_skeleton_page_loads(run_python: Callable[[str], list[Any]], capsys: Any) -> None:
    (names,) = run_python("docs/own_skeleton.md")
    assert capsys.readouterr().out.count("conv.3.weight") == 4
    started = LitePoseSupernet(SearchSpace.preset("tiny"), num_keypoints=5)
    load_weights(started, "start.safetensors")
    trained = names["trained"].state_dict()
    assert all(
        torch.equal(value, trained[name]) for name, value in started.state_dict().items() if "conv.3" not in name
    )
