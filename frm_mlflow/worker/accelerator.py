"""What NVML says of NVIDIA GPUs, counted as CUDA counts them, after `CUDA_VISIBLE_DEVICES`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MIB = 1 / 2**20


def gpus_by_nvml() -> list[dict[str, Any]]:
    """Return `index`, `name`, `memory_mib`, `driver`, `uuid` of each visible GPU; none without NVML.

    A GPU that is cut into MIG slices has ` MIG` after its name: a slice is not the device.
    """
    with _nvml() as nvml:
        if nvml is None:
            return []
        driver = _words(nvml.nvmlSystemGetDriverVersion())
        return [
            {
                "index": index,
                "name": _words(nvml.nvmlDeviceGetName(handle)) + (" MIG" if _is_cut(nvml, handle) else ""),
                "memory_mib": float(nvml.nvmlDeviceGetMemoryInfo(handle).total) * _MIB,
                "driver": driver,
                "uuid": _words(nvml.nvmlDeviceGetUUID(handle)),
            }
            for index, handle in enumerate(_visible(nvml))
        ]


def process_device_mib(index: int) -> float | None:
    """Return what this process holds on the GPU in MiB, or None where NVML does not tell."""
    with _nvml() as nvml:
        if nvml is None:
            return None
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(_visible(nvml)[index])
        used = [p.usedGpuMemory for p in processes if p.pid == os.getpid() and p.usedGpuMemory]
        return sum(used) * _MIB if used else None


def gpu_conditions(index: int) -> dict[str, float]:
    """Return temperature, clocks, power and throttling of a GPU, as far as NVML tells."""
    with _nvml() as nvml:
        if nvml is None:
            return {}
        handle = _visible(nvml)[index]
        readings = {
            "gpu_temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "gpu_sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "gpu_memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "gpu_power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "gpu_throttle_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        }
        return {name: value for name, read in readings.items() if (value := _reading(nvml, read)) is not None}


@contextmanager
def _nvml() -> Iterator[Any]:
    """Yield the NVML module, initialised, or None where it or its driver is missing."""
    try:
        import pynvml
    except ModuleNotFoundError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _visible(nvml: Any) -> list[Any]:
    """Return handles in CUDA's order; NVML itself knows nothing of `CUDA_VISIBLE_DEVICES`."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    names = [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
        for name in names
    ]


def _is_cut(nvml: Any, handle: Any) -> bool:
    mode = _reading(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
    return mode is not None and mode == float(nvml.NVML_DEVICE_MIG_ENABLE)


def _reading(nvml: Any, read: Any) -> float | None:
    try:
        return float(read())
    except nvml.NVMLError:
        return None


def _words(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
