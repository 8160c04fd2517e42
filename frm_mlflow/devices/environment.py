"""What a figure depends on besides the model: versions, driver, clocks, temperatures, load."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from frm_mlflow.devices.hardware import Hardware
from frm_mlflow.devices.resolve import CUDA, Device
from frm_mlflow.worker.accelerator import gpu_conditions

LIBRARIES = (
    "frm-mlflow",
    "mlflow",
    "numpy",
    "scipy",
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
    "ai-edge-litert",
    "litert-torch",
    "executorch",
    "torchao",
    "zeus",
)
"""Distributions whose versions are recorded where they are installed."""

_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD")
_GIT_SECONDS = 10


def environment(device: Device, hardware: Hardware) -> dict[str, Any]:
    """Return everything about this machine that an artifact should keep, ready for JSON."""
    return {
        "device": asdict(device),
        "hardware": asdict(hardware),
        "python": sys.version,
        "platform": platform.platform(),
        "libraries": _versions(),
        "git": git_state(Path.cwd()),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "cpu_governor": _governor(),
        "conditions": conditions(device),
    }


def conditions(device: Device) -> dict[str, float]:
    """Return what changes while the machine works: load, clocks, temperatures, throttling.

    Only what the system tells is in it: a virtual machine often has no clocks and no sensors.
    """
    import psutil

    found: dict[str, float] = {"load_1_min": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    if frequency is not None and frequency.current:
        found["cpu_clock_mhz"] = float(frequency.current)
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    celsius = [reading.current for readings in sensors.values() for reading in readings if reading.current]
    if celsius:
        found["hottest_sensor_c"] = float(max(celsius))
    return found | (gpu_conditions(device.index) if device.kind == CUDA else {})


def git_state(folder: Path) -> dict[str, str | bool]:
    """Return the commit of the checkout around `folder` and whether it has changes; {} outside of one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _governor() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else ""
