"""NVIDIA GPUs and their readings as reported by NVML, in CUDA's order after `CUDA_VISIBLE_DEVICES`.

A value that a platform does not report is None. A GPU that is present but cannot be used is listed in `problems`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .nvml import COMPUTE_MODES, UNKNOWN_NAME, all_handles, ask, decoded, handle_of, is_partitioned, opened, visible

CUDA_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""NVML's order, which `device.index` and the numbers in `CUDA_VISIBLE_DEVICES` also use here."""

_MIB = 1 / 2**20
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
_TEGRA = ("orin", "xavier", "thor", "nvgpu", "tegra")
"""Integrated GPUs of Jetson boards, which CUDA does not select by UUID."""
THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Bits of NVML's clock event reasons that lower the clocks under load, without those for idle or fixed clocks."""


@dataclass(frozen=True)
class Card:
    """One GPU or MIG instance that CUDA can use; None for values that NVML does not report."""

    index: int
    name: str
    memory_mib: float | None
    driver: str
    uuid: str = ""
    selector: str = ""
    """Value of `CUDA_VISIBLE_DEVICES` with which a process sees only this GPU."""
    compute_capability: tuple[int, int] | None = None
    cuda_version: str = ""
    """Newest CUDA version that the driver supports: 12.4."""
    compute_mode: str = ""
    used_mib: float | None = None


@dataclass(frozen=True)
class Cards:
    """The GPUs that CUDA can use, and one sentence for each that is present but cannot be used."""

    usable: tuple[Card, ...] = ()
    problems: tuple[str, ...] = ()


def cards(*, root: Path = Path("/")) -> Cards:
    """Return all visible GPUs in CUDA's order, and why others cannot be used."""
    with opened() as (nvml, reason):
        if nvml is None:
            return Cards(problems=_why_none(reason, root))
        handles, problems = all_handles(nvml)
        gpus, hidden = visible(nvml, handles)
        usable = tuple(_card(nvml, index, handle, number) for index, (number, handle) in enumerate(gpus))
        return Cards(usable, tuple(problems + hidden))


def show_only(selector: str) -> None:
    """Restrict this process, and CUDA in it, to the GPU of `selector`; must be called before CUDA starts."""
    os.environ.update(CUDA_ORDER)
    if selector:
        os.environ["CUDA_VISIBLE_DEVICES"] = selector


def process_device_mib(index: int) -> float | None:
    """Return the GPU memory used by this process in MiB, or None if NVML does not report it.

    In a container NVML may report process ids of the host, or none. Then this process is not found.
    """
    with handle_of(index) as (nvml, handle):
        processes = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or []
        used = [p.usedGpuMemory for p in processes if p.pid == os.getpid() and p.usedGpuMemory]
        return sum(used) * _MIB if used else None


def device_used_mib(index: int) -> float | None:
    """Return the GPU memory used by all processes in MiB, or None if NVML does not report it."""
    with handle_of(index) as (nvml, handle):
        memory = ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
        return None if memory is None else float(memory.used) * _MIB


def energy_mj(index: int) -> float | None:
    """Return NVML's energy counter in millijoules, or None if the GPU has none (before Volta, most Jetsons)."""
    with handle_of(index) as (nvml, handle):
        value = ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle)
        return None if value is None else float(value)


def gpu_conditions(index: int) -> dict[str, float]:
    """Return temperature, clocks, power, throttling and the number of processes, as far as NVML reports them."""
    with handle_of(index) as (nvml, handle):
        if handle is None:
            return {}
        processes = ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
        milliwatts = ask(nvml, "nvmlDeviceGetPowerUsage", handle)
        readings = {
            "gpu_temperature_c": ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
            "gpu_sm_clock_mhz": ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            "gpu_memory_clock_mhz": ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
            "gpu_power_w": None if milliwatts is None else milliwatts / 1000,
            "gpu_throttle_reasons": ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle),
            "gpu_processes": None if processes is None else len(processes),
        }
        return {name: float(value) for name, value in readings.items() if value is not None}


def gpu_settings(index: int) -> dict[str, float]:
    """Return settings of the administrator that a benchmark only records: power limit, persistence, compute mode."""
    with handle_of(index) as (nvml, handle):
        if handle is None:
            return {}
        milliwatts = ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
        readings = {
            "gpu_power_limit_w": None if milliwatts is None else milliwatts / 1000,
            "gpu_persistence_mode": ask(nvml, "nvmlDeviceGetPersistenceMode", handle),
            "gpu_compute_mode": ask(nvml, "nvmlDeviceGetComputeMode", handle),
        }
        return {name: float(value) for name, value in readings.items() if value is not None}


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """Return the reasons in `bits` that make the GPU run slower under load.

    >>> throttle_reasons(0x1 | 0x4 | 0x40)
    ('power cap', 'hardware thermal slowdown')
    """
    return tuple(reason for bit, reason in THROTTLE_REASONS.items() if bits & bit)


def cuda_card(index: int = 0) -> dict[str, str] | None:
    """Return `name` and `uuid` of a GPU by CUDA's own numbering in this process; None without CUDA.

    This queries the driver that the runtimes use, so it shows which GPU they actually get. It starts no context.
    """
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device, name, uuid = ctypes.c_int(), ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)()
    read_uuid = getattr(cuda, "cuDeviceGetUuid_v2", None) or getattr(cuda, "cuDeviceGetUuid", None)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGet(ctypes.byref(device), index) != 0:
        return None
    cuda.cuDeviceGetName(name, len(name), device)
    if read_uuid is None or read_uuid(ctypes.byref(uuid), device) != 0:
        return {"name": name.value.decode(), "uuid": ""}
    digits = bytes(uuid).hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return {"name": name.value.decode(), "uuid": "-".join(parts)}


def _card(nvml: Any, index: int, handle: Any, number: str) -> Card:
    version = ask(nvml, "nvmlSystemGetCudaDriverVersion_v2")
    uuid = decoded(ask(nvml, "nvmlDeviceGetUUID", handle))
    mode = ask(nvml, "nvmlDeviceGetComputeMode", handle)
    capability = ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    name = _name(nvml, handle, number)
    is_unknown_slice = " MIG" in name and ":" not in number  # the memory of the whole GPU is not that of the slice
    memory = None if is_unknown_slice else ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    used = getattr(memory, "used", None)
    return Card(
        index=index,
        name=name,
        memory_mib=None if memory is None else float(memory.total) * _MIB,
        driver=decoded(ask(nvml, "nvmlSystemGetDriverVersion")),
        uuid=uuid,
        selector=number if not uuid or _is_tegra(name) else uuid,
        compute_capability=None if capability is None else (int(capability[0]), int(capability[1])),
        cuda_version=f"{version // 1000}.{version % 1000 // 10}" if version else "",
        compute_mode=COMPUTE_MODES.get(mode, "") if mode is not None else "",
        used_mib=None if used is None else float(used) * _MIB,
    )


def _name(nvml: Any, handle: Any, number: str) -> str:
    """Return NVML's name, plus ` MIG` for a partitioned GPU whose instances are not listed or have no name."""
    whole = ask(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle) if ":" in number else None
    name = decoded(ask(nvml, "nvmlDeviceGetName", handle)) or decoded(ask(nvml, "nvmlDeviceGetName", whole))
    name = name or UNKNOWN_NAME
    is_part = ":" in number or is_partitioned(nvml, handle)
    return f"{name} MIG" if is_part and " MIG" not in name else name


def _is_tegra(name: str) -> bool:
    return any(word in name.lower() for word in _TEGRA)


def _why_none(reason: str, root: Path) -> tuple[str, ...]:
    """Return why NVML does not start, if this machine has an NVIDIA GPU or driver; else nothing."""
    if not _has_nvidia_card(root):
        return ()
    return (f"there is an NVIDIA GPU but it cannot be used: {reason}",)


def _has_nvidia_card(root: Path) -> bool:
    """Return whether there is an NVIDIA display controller on the PCI bus, its driver, or its files in a container."""
    if any((root / path).exists() for path in ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/dxg")):
        return True
    for device in (root / "sys/bus/pci/devices").glob("*"):
        if _text(device / "vendor") == _NVIDIA and _text(device / "class").startswith(_DISPLAY_CLASS):
            return True
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
