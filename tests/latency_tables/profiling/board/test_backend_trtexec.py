"""The kit on a Jetson: trtexec's command lines and its reports, in the form that TensorRT 8 and 10 print them."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from litepose_ofa.latency_tables.profiling.measurements import Measurements

RUNNING = "&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec --onnx=model.onnx --fp16"
STAMP = "[11/23/2026-10:20:30] [I]"
FAILED = """\
[11/23/2026-10:20:31] [E] Error[4]: [network.cpp::validate::3125] no such layer
[11/23/2026-10:20:31] [E] Engine could not be created from network
&&&& FAILED TensorRT.trtexec [TensorRT v8205] # trtexec --onnx=model.onnx
"""

TRTEXEC = """\
log(arguments)
print("&&&& RUNNING TensorRT.trtexec [TensorRT v8205] # trtexec")
for word in arguments:
    if word.startswith("--saveEngine="):
        open(word.split("=", 1)[1], "w").write("engine")
    if word.startswith("--loadEngine=") and not os.path.exists(word.split("=", 1)[1]):
        sys.exit(1)
if arguments != ["--help"]:
    for ms in (4.0, 4.2, 5.0):
        print(f"[I] Average on 1 runs - GPU latency: {ms} ms - Host latency: {ms + 1} ms (enqueue 0.4 ms)")
    print("[I] GPU Compute Time: min = 4 ms, max = 5 ms, mean = 4.4 ms, median = 4.2 ms, percentile(99%) = 5 ms")
    print("&&&& PASSED TensorRT.trtexec [TensorRT v8205] # trtexec")
"""


@pytest.fixture
def backend(load_backend: Callable[[str], ModuleType]) -> ModuleType:
    return load_backend("backend_trtexec")


def report(*times: float, median: float, tail: str = "") -> str:
    """Return a report of these runs; TensorRT 7 has a tail in every line of them."""
    run = f"{STAMP} Average on 1 runs - GPU latency: {{}} ms - Host latency: 9.5 ms ({tail}enqueue 0.4 ms)"
    statistics = f"{STAMP} {{}}: min = 0.2 ms, max = 9 ms, mean = 4.4 ms, median = {{}} ms, percentile(90%) = 4.9 ms"
    medians = {"Latency": 4.75, "H2D Latency": 0.25, "GPU Compute Time": median, "D2H Latency": 0.25}
    lines = [RUNNING.format(version=8205), *map(run.format, times), *map(statistics.format, medians, medians.values())]
    return "\n".join([*lines, f"{STAMP} Total GPU Compute Time: 1.99 s", ""])


def test_the_compute_time_of_every_run_counts(backend: ModuleType) -> None:
    for tail in ("", "end to end 9.5 ms, "):
        assert backend.parse_report(report(4.0, 4.2, 5.0, median=4.2, tail=tail)) == [4.0, 4.2, 5.0]
    assert backend.parse_report(report(9.5e-05, median=9.5e-05)) == [9.5e-05]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no GPU compute times"),
        (report(median=4.2), "has no GPU compute times"),
        (report(4.0, 4.2, 5.0, median=4.75), "has the median 4.75 ms, its runs 4.2 ms"),
    ],
)
def test_a_report_of_another_form_is_refused(text: str, message: str, backend: ModuleType) -> None:
    with pytest.raises(backend.RefusedError, match=message):
        backend.parse_report(text)


@pytest.mark.parametrize(("number", "version"), [(7103, "7.1.3"), (8205, "8.2.5"), (8602, "8.6.2"), (100300, "10.3.0")])
def test_the_version_is_that_of_the_first_line(number: int, version: str, backend: ModuleType) -> None:
    assert backend.parse_version(RUNNING.format(version=number)) == version


@pytest.mark.parametrize(
    ("line", "sensed"),
    [
        (
            "RAM 2034/3956MB (lfb 2x4MB) CPU [10%@1479,8%@1479,off,off] EMC_FREQ 0% GR3D_FREQ 99%@921 APE 25 "
            "PLL@30C CPU@33.5C PMIC@100C GPU@31.5C AO@40C thermal@32.25C POM_5V_IN 2532/2532",
            {"clock_mhz": 921.0, "temperature_c": 31.5},
        ),
        (
            "11-23-2026 10:20:30 RAM 3012/7620MB (lfb 8x4MB) CPU [1%@729,0%@729] GR3D_FREQ 0%@[305] cpu@45.5C "
            "soc2@44.1C gpu@44.2C tj@45.5C VDD_IN 4500mW/4500mW",
            {"clock_mhz": 305.0, "temperature_c": 44.2},
        ),
        ("RAM 3012/7620MB CPU [1%@729] GR3D_FREQ 0% cpu@45.5C", {}),
    ],
)
def test_tegrastats_gives_what_it_shows(line: str, sensed: dict[str, float], backend: ModuleType) -> None:
    assert backend.parse_tegrastats(line) == sensed


@pytest.mark.parametrize(
    ("precision", "asked", "common"),
    [
        ("float16", (3, 10, 0.06), "--warmUp=500 --duration=2 --iterations=50 --avgRuns=1 --fp16"),
        ("float32", (3, 60, 3.0), "--warmUp=500 --duration=3 --iterations=60 --avgRuns=1 --noTF32"),
    ],
)
def test_the_first_round_builds_an_engine_and_later_ones_load_it(
    precision: str,
    asked: tuple[int, int, float],
    common: str,
    backend: ModuleType,
    fake_tool: Callable[[str, str], Path],
    tmp_path: Path,
) -> None:
    backend.configure(trtexec=str(fake_tool("trtexec", TRTEXEC)), precision=precision)
    onnx, engine = tmp_path / "model.onnx", tmp_path / f"model.{precision}.8.2.5.engine"
    for _ in range(2):
        assert backend.load([str(onnx)], [[1, 1, 2, 2]], 1).time_runs(*asked) == [4.0, 4.2, 5.0]
    assert (tmp_path / "trtexec.log").read_text().splitlines() == [
        "--help",
        f"{common} --onnx={onnx} --saveEngine={engine}.new",
        f"{common} --loadEngine={engine}",
    ]
    assert [path.name for path in tmp_path.glob("*.engine*")] == [engine.name]


def test_what_trtexec_says_of_its_failure_is_the_error(
    backend: ModuleType, fake_tool: Callable[[str, str], Path], tmp_path: Path
) -> None:
    code = f"print({FAILED!r} if arguments != ['--help'] else {RUNNING.format(version=8205)!r})\n"
    backend.configure(trtexec=str(fake_tool("trtexec", code)))
    model = backend.load([str(tmp_path / "model.onnx")], [[1]], 1)
    with pytest.raises(backend.RefusedError, match=r": Error\[4\]: \[network.cpp::validate::3125\] no such layer$"):
        model.time_runs(3, 10, 0.06)
    assert not list(tmp_path.glob("*.engine*"))


def test_a_missing_trtexec_and_other_options_are_named(backend: ModuleType) -> None:
    backend.configure(trtexec="/nowhere/trtexec")
    with pytest.raises(backend.RefusedError, match="/nowhere/trtexec: No such file or directory; name it by --option"):
        backend.describe()
    with pytest.raises(backend.RefusedError, match=r"trtexec=PATH, precision=float16\|float32"):
        backend.configure(precision="int8")


def test_a_kit_runs_with_a_trtexec(run_kit: Callable[..., Measurements], fake_tool: Callable[[str, str], Path]) -> None:
    measurements = run_kit("tensorrt", f"trtexec={fake_tool('trtexec', TRTEXEC)}", rounds=1)
    assert measurements.facts["runtime_version"] == "8.2.5"
    assert {timing.ms for timing in measurements.singles.values()} == {4.2}
