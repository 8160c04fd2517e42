"""Facts that Android reports: the phone's model, and the state that affects its measurements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from frm_mlflow.devices.adb_connection import AdbConnection
from frm_mlflow.devices.hardware import Hardware

EMULATOR = "android-emulator"

_GOVERNORS = "grep -H . /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
_SWITCHES = {"AC powered": "AC", "USB powered": "USB", "Wireless powered": "wireless", "Dock powered": "dock"}
_TENTH = 0.1


def properties(text: str) -> dict[str, str]:
    """Return `getprop`'s lines `[ro.product.model]: [Pixel 8]` as a mapping."""
    return dict(re.findall(r"(?m)^\[([^\]]+)\]: \[([^\]]*)\]$", text))


def hardware_of_phone(properties: Mapping[str, str], *, meminfo: str, cpus: str) -> Hardware:
    """Return the phone as its properties, `/proc/meminfo` and `/sys/devices/system/cpu/present` describe it."""
    total_kib = re.search(r"(?m)^MemTotal:\s+(\d+) kB", meminfo)
    n_cpus = _count(cpus)
    return Hardware(
        cpu=chip(properties),
        physical_cores=n_cpus,
        logical_cores=n_cpus,
        allowed_cpus=tuple(range(n_cpus)),
        memory_mib=int(total_kib[1]) / 1024 if total_kib else 0.0,
        os=f"Android {properties.get('ro.build.version.release', '')}".strip(),
        arch=properties.get("ro.product.cpu.abi", ""),
        phone=model(properties),
        emulator=EMULATOR if "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu")) else "",
    )


def chip(properties: Mapping[str, str]) -> str:
    """Return the chip's model: Android 12's own property, else the board's platform."""
    named = ("ro.soc.model", "ro.board.platform", "ro.hardware")
    return next((properties[name] for name in named if properties.get(name)), "")


def model(properties: Mapping[str, str]) -> str:
    """Return the phone's marketing name if Android has it, else the maker's model code."""
    return properties.get("ro.product.marketname") or properties.get("ro.product.model", "")


def state(connection: AdbConnection) -> dict[str, Any]:
    """Return the current state that affects measurements: battery, heat, governors, screen, airplane mode.

    Facts that the phone does not report are absent.
    """
    battery = connection.answer("dumpsys battery")
    thermal = connection.answer("dumpsys thermalservice")
    words = {
        "powered_by": ", ".join(w for key, w in _SWITCHES.items() if _field(battery, key) == "true"),
        "screen": _found(r"mWakefulness=(\w+)", connection.answer("dumpsys power")),
        "airplane_mode": connection.answer("settings get global airplane_mode_on").strip(),
        "governors": dict(re.findall(r"(?m)^\S*/(policy\d+)/scaling_governor:(\S+)$", connection.answer(_GOVERNORS))),
    }
    return {"conditions": conditions_in(battery, thermal)} | {key: value for key, value in words.items() if value}


def conditions_in(battery: str, thermal: str) -> dict[str, float]:
    """Return the numbers in `dumpsys battery` and `dumpsys thermalservice`."""
    numbers: dict[str, float] = {}
    level, scale, tenths = (_field(battery, key) for key in ("level", "scale", "temperature"))
    if level and scale:
        numbers["battery_percent"] = 100 * float(level) / float(scale)
    if tenths:
        numbers["battery_temperature_c"] = float(tenths) * _TENTH
    status = _found(r"Thermal Status: (\d+)", thermal)
    if status:
        numbers["thermal_status"] = float(status)
    now = thermal.partition("Current temperatures from HAL:")[2].partition("Current cooling")[0]
    celsius = [float(value) for value, kind in re.findall(r"mValue=([\d.]+), mType=(\d+)", now) if kind in "013"]
    if celsius:
        numbers["hottest_sensor_c"] = max(celsius)
    return numbers


def _field(text: str, key: str) -> str:
    return _found(rf"(?m)^\s*{re.escape(key)}: (\S+)$", text)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _count(cpus: str) -> int:
    """Return the number of processors in a list like `0-7` or `0-3,6`; at least one."""
    ranges = re.findall(r"(\d+)(?:-(\d+))?", cpus)
    return max(1, sum(int(last or first) - int(first) + 1 for first, last in ranges))
