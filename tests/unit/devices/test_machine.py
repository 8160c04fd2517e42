"""What a machine reports about itself without psutil, and under an emulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frm_mlflow.devices.hardware import hardware_of, probe
from frm_mlflow.worker import machine


def file(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_a_machine_tells_survives_json():
    assert hardware_of(json.loads(json.dumps(machine.hardware()))) == probe()


def test_qemu_shows_as_the_process_of_its_own_name(tmp_path: Path):
    file(tmp_path, "proc/self/comm", "qemu-aarch64-st\n")
    assert machine.hardware(root=tmp_path)["emulator"] == "qemu-user"
    assert machine.hardware()["emulator"] == ""


def test_clock_and_heat_without_psutil(tmp_path: Path):
    for cpu, khz in enumerate(("1500000", "2400000")):
        file(tmp_path, f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", khz)
    for zone, mc in enumerate(("48312", "51002", "not a number")):
        file(tmp_path, f"class/thermal/thermal_zone{zone}/temp", mc)
    assert machine._clock_and_heat_by_sysfs(tmp_path) == pytest.approx((1950.0, 51.002))
    assert machine._clock_and_heat_by_sysfs(tmp_path / "nothing") == (0.0, 0.0)
