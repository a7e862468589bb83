"""Peak activation memory against the block that ONNX Runtime's arena plans for the same network's feature maps."""

import random
import runpy
from pathlib import Path

import pytest

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.export.onnx_graph import export_onnx
from litepose_ofa.supernet.network.litepose import LitePose

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "planned_memory.py"
TOLERANCE = 0.01
"""Alignment of the maps; they were equal to the byte under ONNX Runtime 1.32."""


def network(space: str, which: str) -> Arch:
    preset = SearchSpace.preset(space)
    fixed = {"smallest": preset.smallest, "largest": preset.largest}
    return fixed[which]() if which in fixed else preset.sample(random.Random(int(which)))


@pytest.fixture
def exported(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Arch, Path]:
    arch = network(*request.param)
    path = tmp_path / "subnet.onnx"
    export_onnx(path, LitePose(arch).eval())
    return arch, path


@pytest.mark.parametrize(
    "exported",
    [
        ("tiny", "smallest"),
        ("tiny", "largest"),
        *(
            pytest.param(case, marks=pytest.mark.slow)
            for case in (
                ("tiny", "1"),
                ("litepose", "smallest"),
                ("litepose", "largest"),
                ("litepose", "1"),
                ("litepose_released", "smallest"),
                ("litepose_released", "0"),
            )
        ),
    ],
    indirect=True,
    ids=str,
)
def test_the_analysis_agrees_with_the_arena(exported: tuple[Arch, Path]) -> None:
    arch, path = exported
    measure_planned_bytes = runpy.run_path(str(BENCHMARK))["measure_planned_bytes"]
    planned = measure_planned_bytes(path)
    assert measure_complexity(arch).peak_activation_bytes == pytest.approx(planned, rel=TOLERANCE)
    # ONNX Runtime's own order and reuse never need less than a tenth below the analysis, nor twice as much.
    assert 0.9 * planned <= measure_planned_bytes(path, "default") <= 2 * planned
