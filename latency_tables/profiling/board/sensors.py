"""A board's clock, temperature and throttling: vcgencmd on a Raspberry Pi, Linux's /sys on a Jetson and elsewhere."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

THROTTLED_NOW = 0b1111
"""Bits of vcgencmd get_throttled: under-voltage, frequency capped, throttled, soft temperature limit; the higher bits
say that these happened at some time since the start."""


class Sensors:
    """Reads what this machine shows; what it does not show is None, and no throttling."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._has_vcgencmd = shutil.which("vcgencmd") is not None
        self._throttle_count = self._count_throttling()

    def read(self) -> dict[str, Any]:
        """Return clock_mhz, temperature_c and throttled, the last for the time since the last reading."""
        if self._has_vcgencmd:
            clock = _vcgencmd(r"=(\d+)", "measure_clock", "arm")
            temperature = _vcgencmd(r"=([\d.]+)", "measure_temp")
            flags = _vcgencmd(r"=0x([0-9a-fA-F]+)", "get_throttled")
            return {
                "clock_mhz": None if clock is None else int(clock) / 1e6,
                "temperature_c": None if temperature is None else float(temperature),
                "throttled": flags is not None and bool(int(flags, 16) & THROTTLED_NOW),
            }
        clocks = self._numbers("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
        temperatures = self._numbers("sys/class/thermal/thermal_zone*/temp")
        devices = self._root.glob("sys/class/thermal/cooling_device*/type")
        cooled = [kind for kind in devices if re.search("cpu|gpu|processor", _text(kind).lower())]
        before, self._throttle_count = self._throttle_count, self._count_throttling()
        return {
            "clock_mhz": max(clocks) / 1e3 if clocks else None,
            "temperature_c": max(temperatures) / 1e3 if temperatures else None,
            "throttled": self._throttle_count > before
            or any((_number(kind.with_name("cur_state")) or 0) > 0 for kind in cooled),
        }

    def describe(self) -> dict[str, Any]:
        """Return machine, processor, system and the clocks' settings, as far as they are shown."""
        governor = _text(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        highest = self._numbers("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq")
        clocks = [f"governor {governor}"] if governor else []
        clocks += [f"up to {max(highest) / 1e3:.0f} MHz"] if highest else []
        model_name = re.search(r"model name\s*: (.+)", _text(self._root / "proc/cpuinfo"))
        return {
            "machine": _text(self._root / "proc/device-tree/model") or platform.machine(),
            "processor": model_name.group(1) if model_name else platform.processor() or platform.machine(),
            "system": platform.platform(),
            "clocks": ", ".join(clocks) or "not shown",
        }

    def _count_throttling(self) -> float:
        return sum(self._numbers("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"))

    def _numbers(self, pattern: str) -> list[float]:
        numbers = map(_number, self._root.glob(pattern))
        return [number for number in numbers if number is not None]


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # a zone that is switched off
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip(" \0\n")
    except OSError:
        return ""


def _vcgencmd(pattern: str, *command: str) -> str | None:
    answer = subprocess.run(["vcgencmd", *command], stdout=subprocess.PIPE, text=True, check=False)
    found = re.search(pattern, answer.stdout)
    return found.group(1) if found else None
