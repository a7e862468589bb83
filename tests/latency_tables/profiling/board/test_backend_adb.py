"""The kit on an Android phone: adb's command lines and benchmark_model's reports, in the forms that versions print."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from litepose_ofa.latency_tables.profiling.measurements import Measurements

LOADED = "INFO: Loaded model /data/local/tmp/model.tflite\n"
ON_GPU = "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
PARTLY = ON_GPU.replace("completely", "partially")
NOT_AT_ALL = "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
WARM_UP = "INFO: count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930\n\n"
TIMINGS = (
    "INFO: Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, "
    "Inference (avg): 33209.4\n"
)
WITH_MEAN = "count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450\n\n"

THERMALS = """\
IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=99.0, mType=0, mName=CPU, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
	Temperature{{mValue=41.6, mType=0, mName=CPU, mStatus=0}}
	Temperature{{mValue=43.1, mType=1, mName=GPU, mStatus=0}}
	Temperature{{mValue=65.0, mType=2, mName=BAT, mStatus=0}}
Current cooling devices from HAL:
"""

ADB = """\
log(arguments)
if arguments[:1] == ["-s"]:
    arguments = arguments[2:]
words = " ".join(arguments)
if words == "devices":
    print("List of devices attached\\n" + DEVICES)
elif "sha256sum" in words:
    print("0123456789abcdef  /data/local/tmp/benchmark_model")
elif "--graph=" in words:
    print("INFO: count=4 first=900 curr=950 min=898 max=960 avg=930.5 std=1 p5=898 median=931 p95=960")
    print("INFO: count=3 first=900 curr=898 min=898 max=906 avg=901.3 std=1 p5=898 median=900 p95=906")
    print("INFO: Inference timings in us: Init: 855, First inference: 900, Warmup (avg): 930.5, Inference (avg): 901.3")
elif words == "shell getprop":
    print("[ro.build.version.release]: [12]\\n[ro.product.manufacturer]: [samsung]\\n[ro.product.model]: [SM-N976B]")
    print("[ro.board.platform]: [msmnile]")
elif words == "shell nproc":
    print("8")
elif "scaling_governor" in words:
    print("performance\\n" * 8)
elif "scaling_cur_freq" in words:
    print("1785600\\n2841600")
elif "thermalservice" in words:
    print("Thermal Status: 0")
"""


@pytest.fixture
def backend(load_backend: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_backend("backend_adb")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    (tmp_path / "kit.json").write_text(json.dumps({"kit": "abc"}))
    return module


@pytest.fixture
def phone(backend: ModuleType, fake_tool: Callable[[str, str], Path]) -> Callable[..., None]:
    """Stand in for adb and what it is connected to."""

    def connect(devices: str = "R58M\tdevice", code: str = ADB, **options: str) -> None:
        backend.configure(adb=str(fake_tool("adb", f"DEVICES = {devices!r}\n{code}")), **options)

    return connect


@pytest.mark.parametrize(
    ("statistics", "ms", "runs"),
    [
        ("count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450\n\n", 33.2094, 50),
        ("INFO: count=50 first=900 curr=898 min=898 max=906 avg=899.6 std=1 p5=898 median=899 p95=904\n", 0.899, 50),
        ("count=50 curr=0(all same) p5=0 median=0 p95=0\n", 0.0005, 50),
        ("count=1 curr=637079\n", 637.079, 1),
    ],
)
def test_the_median_counts_or_else_the_mean(statistics: str, ms: float, runs: int, backend: ModuleType) -> None:
    assert backend.parse_report(LOADED + WARM_UP + statistics + TIMINGS) == pytest.approx([ms] * runs)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ("", "its report has another form"),
        ("ERROR: Failed to load model x.tflite\n", "ERROR: Failed to load model x.tflite"),
        ("/system/bin/sh: benchmark_model: inaccessible or not found\n", ".*inaccessible or not found"),
    ],
)
def test_a_report_without_timings_is_refused(report: str, reason: str, backend: ModuleType) -> None:
    with pytest.raises(backend.RefusedError, match=f"^benchmark_model gives no timings: {reason}$"):
        backend.parse_report(report)


def test_the_hottest_chip_and_the_status_are_read(backend: ModuleType) -> None:
    for status, throttled in ((0, False), (1, True), (3, True)):
        sensed = backend.parse_thermals(THERMALS.format(status=status))
        assert sensed == {"temperature_c": 43.1, "throttled": throttled}
    absent = backend.parse_thermals("Can't find service: thermalservice\n")
    assert absent == {"temperature_c": None, "throttled": False}


def test_the_phone_gets_the_models_and_these_commands(
    backend: ModuleType, phone: Callable[..., None], tmp_path: Path
) -> None:
    phone("R58M\tdevice\nX1\tdevice", serial="R58M", cores="80")
    facts = backend.describe()
    model = backend.load([str(tmp_path / "models" / "head.tflite")], [[1, 8, 4, 4]], 4)
    assert model.time_runs(3, 10, 0.06) == [0.9] * 3
    assert backend.read_sensors() == {"clock_mhz": 2841.6, "temperature_c": None, "throttled": False}
    log = (tmp_path / "adb.log").read_text().splitlines()
    folder = "/data/local/tmp/litepose_abc"
    options = "--use_xnnpack=true --warmup_runs=10 --num_runs=50 --max_secs=10 2>&1"
    push = f"-s R58M push --sync {tmp_path / 'models'} {folder}"
    assert log[:3] == ["devices", f"-s R58M shell mkdir -p {folder}", push]
    assert [line for line in log if "--graph" in line] == [
        f"-s R58M shell taskset 80 /data/local/tmp/benchmark_model --graph={folder}/models/{name}.tflite "
        f"--num_threads={threads} {options}"
        for name, threads in (("null", 1), ("head", 4))
    ]
    assert (facts["machine"], facts["processor"], facts["system"]) == ("samsung SM-N976B", "msmnile", "Android 12")
    assert (facts["cores"], facts["clocks"], facts["precision"]) == (8, "governor performance", "float32")
    assert (facts["runtime_version"], facts["figure"]) == ("SHA-256 0123456789ab", "median of a round's runs")


def test_the_gpu_is_an_option(backend: ModuleType, phone: Callable[..., None], tmp_path: Path) -> None:
    phone(code=f"log(arguments)\nprint({ON_GPU + WARM_UP + WITH_MEAN + TIMINGS!r})", gpu="yes")
    assert backend.load(["x.tflite"], [[1]], 1).time_runs(3, 10, 0.06) == pytest.approx([33.2094] * 50)
    assert "--use_gpu=true" in (tmp_path / "adb.log").read_text()
    for delegated in (PARTLY, NOT_AT_ALL, ""):
        phone(code=f"print({delegated + WARM_UP + WITH_MEAN + TIMINGS!r})", gpu="yes")
        with pytest.raises(backend.RefusedError, match=r"x\.tflite: .* did not put the whole model on the GPU"):
            backend.benchmark("/data/local/tmp/x.tflite", 1, 50)


FULL = 'if arguments[:1] == ["push"]:\n    sys.exit("adb: error: remote No space left on device\\nmore")\n'


@pytest.mark.parametrize(
    ("devices", "options", "message"),
    [
        ("", {}, "adb sees no phone; connect one and switch on its USB debugging"),
        ("A\tdevice\nB\tdevice", {}, "adb sees A, B; name one by --option serial="),
        ("A\tdevice", {"serial": "B"}, "adb sees no phone B; there is A"),
        ("A\tunauthorized", {}, "the phone A is unauthorized; unlock it and allow this computer to debug it"),
        ("A\tdevice", {"code": ADB.replace('"sha256sum" in', "'-' in")}, ".*benchmark_model is not on the phone; .*"),
        ("A\tdevice", {"code": ADB + FULL}, "adb push .*: adb: error: remote No space left on device"),
    ],
)
def test_one_phone_must_be_ready_with_benchmark_model_and_space(
    devices: str, options: dict[str, str], message: str, backend: ModuleType, phone: Callable[..., None]
) -> None:
    phone(devices, **options)
    with pytest.raises(backend.RefusedError, match=f"^{message}$"):
        backend.describe()


def test_a_missing_adb_and_other_options_are_named(backend: ModuleType) -> None:
    backend.configure(adb="/nowhere/adb")
    with pytest.raises(backend.RefusedError, match=r"^/nowhere/adb: No such file .*; install Android's platform-tools"):
        backend.describe()
    for options in ({"gpu": "maybe"}, {"threads": "2"}):
        with pytest.raises(backend.RefusedError, match="the options of adb are adb, serial, benchmark, cores, gpu"):
            backend.configure(**options)


def test_a_kit_runs_with_an_adb(run_kit: Callable[..., Measurements], fake_tool: Callable[[str, str], Path]) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra 'litert' is not installed")
    adb = fake_tool("adb", f"DEVICES = 'R58M\\tdevice'\n{ADB}")
    measurements = run_kit("android", f"adb={adb}", rounds=1)
    assert measurements.facts["machine"] == "samsung SM-N976B"
    assert {timing.ms for timing in measurements.singles.values()} == {0.9}
