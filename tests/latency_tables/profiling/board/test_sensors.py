"""What a board shows of clock, temperature and throttling."""

from pathlib import Path
from types import ModuleType

import pytest


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_machine_that_shows_nothing_is_no_error(board: ModuleType, tmp_path: Path) -> None:
    assert board.Sensors(tmp_path).read() == {"clock_mhz": None, "temperature_c": None, "throttled": False}
    assert board.Sensors(tmp_path).describe()["clocks"] == "not shown"


def test_the_fastest_core_and_the_hottest_zone_are_read(board: ModuleType, tmp_path: Path) -> None:
    cpu, thermal = "sys/devices/system/cpu", "sys/class/thermal"
    files = {
        f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "1200000\n",
        f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "1479000\n",
        f"{cpu}/cpu0/cpufreq/scaling_max_freq": "1479000\n",
        f"{cpu}/cpu0/cpufreq/scaling_governor": "performance\n",
        f"{thermal}/thermal_zone0/temp": "45500\n",
        f"{thermal}/thermal_zone1/temp": "off\n",
        f"{thermal}/thermal_zone2/temp": "51000\n",
        "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n",
    }
    write(tmp_path, files)
    assert board.Sensors(tmp_path).read() == {"clock_mhz": 1479.0, "temperature_c": 51.0, "throttled": False}
    described = board.Sensors(tmp_path).describe()
    assert described["machine"] == "NVIDIA Jetson Nano Developer Kit"
    assert described["processor"] == "ARMv8 Processor rev 1 (v8l)"
    assert described["clocks"] == "governor performance, up to 1479 MHz"


def test_a_processor_slowed_to_cool_is_throttled_and_a_fan_is_not(board: ModuleType, tmp_path: Path) -> None:
    folder = "sys/class/thermal/cooling_device0"
    states = {
        ("thermal-cpufreq-0", 2): True,
        ("gpu-balanced", 0): False,
        ("pwm-fan", 3): False,
        ("Processor", -1): False,
    }
    for (kind, state), throttled in states.items():
        write(tmp_path, {f"{folder}/type": f"{kind}\n", f"{folder}/cur_state": f"{state}\n"})
        assert board.Sensors(tmp_path).read()["throttled"] is throttled


def test_a_rising_count_of_throttling_is_seen_once(board: ModuleType, tmp_path: Path) -> None:
    count = "sys/devices/system/cpu/cpu3/thermal_throttle/core_throttle_count"
    write(tmp_path, {count: "7\n"})
    reader = board.Sensors(tmp_path)
    seen = [reader.read()["throttled"]]
    write(tmp_path, {count: "8\n"})
    assert [*seen, reader.read()["throttled"], reader.read()["throttled"]] == [False, True, False]


@pytest.mark.parametrize(("flags", "throttled"), [("0x0", False), ("0x50000", False), ("0x50005", True), ("0x8", True)])
def test_a_raspberry_pi_is_asked_by_vcgencmd(
    flags: str, throttled: bool, board: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "measure_clock) echo 'frequency(48)=1500398464' ;;\n"
        'measure_temp) echo "temp=48.3\'C" ;;\n'
        f"get_throttled) echo 'throttled={flags}' ;;\nesac\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert board.Sensors().read() == {"clock_mhz": 1500.398464, "temperature_c": 48.3, "throttled": throttled}
