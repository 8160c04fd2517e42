"""Facts about this machine, read on the machine itself: the worker's side of device recognition.

It needs only the standard library (and uses psutil if installed), starts no GPU context and
imports no runtime, so it also works on a board that does not even have numpy yet.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from .accelerator import cards, gpu_conditions, gpu_settings
from .runtimes import distributions

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
"""Chassis asset tag that Azure's hypervisor sets on every virtual machine."""
LIBRARIES = (
    *("frm-mlflow", "mlflow", "numpy", "scipy", "torchvision", "timm"),
    *distributions(),
    *("nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "zeus"),
)
"""Distributions whose versions are recorded if they are installed."""
QEMU_USER = "qemu-user"

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
    "LD_PRELOAD",
)
_AZURE_VM_SIZE_URL = "http://169.254.169.254/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
_AZURE_TIMEOUT_S = 2.0
_MIB = 1 / 2**20

Fetch = Callable[[str], str]


def hardware(*, root: Path = Path("/"), fetch: Fetch | None = None) -> dict[str, Any]:
    """Return the fields of `devices.Hardware` as JSON-compatible values; `root` and `fetch` are for tests."""
    allowed = allowed_cpus()
    gpus = cards(root=root)
    return {
        "cpu": cpu_brand(root),
        "physical_cores": physical_cores(allowed, root=root),
        "logical_cores": os.cpu_count() or 1,
        "allowed_cpus": list(allowed),
        "memory_mib": _memory_mib(),
        "gpus": [asdict(card) for card in gpus.usable],
        "gpu_problems": list(gpus.problems),
        "azure_vm_size": _azure_vm_size(root, fetch or _fetch_metadata),
        "board": text_of(root / "proc/device-tree/model"),
        "os": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "emulator": _emulator(root),
    }


def software() -> dict[str, Any]:
    """Return the software: Python, operating system, library versions, and environment variables that affect them."""
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "libraries": _versions(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "cpu_governor": text_of(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
    }


def conditions(kind: str, index: int) -> dict[str, float]:
    """Return what changes while the machine is working: load, clocks, temperatures, throttling.

    It contains only what the system reports: a virtual machine often has no clocks and no sensors.
    """
    values: dict[str, float] = {"load_1_min": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}
    clock_mhz, celsius = _clock_and_heat()
    if clock_mhz:
        values["cpu_clock_mhz"] = clock_mhz
    if celsius:
        values["hottest_sensor_c"] = celsius
    return values | (gpu_conditions(index) | gpu_settings(index) if kind == "cuda" else {})


def allowed_cpus() -> tuple[int, ...]:
    """Return the logical processors that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def physical_cores(cpus: tuple[int, ...], *, root: Path = Path("/")) -> int:
    """Return how many physical cores these logical processors belong to; siblings count once.

    Without the kernel's topology (not Linux) every processor counts.
    """
    cores = set()
    for cpu in cpus:
        siblings = text_of(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return max(1, len(cores))


def cpu_brand(root: Path = Path("/")) -> str:
    """Return the processor's name as reported by the system."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    info = text_of(root / "proc/cpuinfo")
    for key in ("model name", "Model", "Hardware"):
        match = re.search(rf"^{key}\s*:\s*(.+)$", info, re.MULTILINE)
        if match:
            return match.group(1).strip()
    return platform.processor() or platform.machine()


def text_of(path: Path) -> str:
    """Return the stripped text of a small system file, or "" if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _emulator(root: Path) -> str:
    """Return the emulator that runs this process; qemu in user mode is detected by the process's name."""
    return QEMU_USER if text_of(root / "proc/self/comm").startswith("qemu-") else ""


def _memory_mib() -> float:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _MIB
    import psutil

    return float(psutil.virtual_memory().total) * _MIB


def _clock_and_heat() -> tuple[float, float]:
    """Return the processor's clock in MHz and the hottest sensor in °C; 0 for values that are not available."""
    try:
        import psutil
    except ModuleNotFoundError:
        return _clock_and_heat_by_sysfs(Path("/sys"))
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    celsius = [reading.current for readings in sensors.values() for reading in readings if reading.current]
    return float(frequency.current) if frequency is not None else 0.0, float(max(celsius, default=0.0))


def _clock_and_heat_by_sysfs(sys_root: Path) -> tuple[float, float]:
    def numbers(pattern: str) -> list[float]:
        texts = [text_of(path) for path in sys_root.glob(pattern)]
        return [float(text) for text in texts if text.lstrip("-").isdigit()]

    clocks_khz = numbers("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    heat_mc = numbers("class/thermal/thermal_zone*/temp")
    clock_mhz = sum(clocks_khz) / len(clocks_khz) / 1000 if clocks_khz else 0.0
    return clock_mhz, max(heat_mc, default=0.0) / 1000


def _versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _azure_vm_size(root: Path, fetch: Fetch) -> str:
    """Query Azure's metadata service, but only if the firmware identifies the machine as an Azure VM."""
    if text_of(root / "sys/class/dmi/id/chassis_asset_tag") != AZURE_ASSET_TAG:
        return ""
    try:
        return fetch(_AZURE_VM_SIZE_URL).strip()
    except OSError:
        return ""


def _fetch_metadata(url: str) -> str:
    request = urllib.request.Request(url, headers={"Metadata": "true"})  # noqa: S310  (a constant address)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_AZURE_TIMEOUT_S) as reply:
        return str(reply.read().decode())
