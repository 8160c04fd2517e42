"""Memory of this process on an NVIDIA GPU, by NVML."""

from __future__ import annotations

import os

_MIB = 1 / 2**20


def process_device_mib(index: int) -> float | None:
    """Return what NVML says that this process holds on the GPU; None without NVML or where it does not tell.

    `index` counts as CUDA does, after `CUDA_VISIBLE_DEVICES`.
    """
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(nvml_handle(index))
    except pynvml.NVMLError:
        return None
    used = [p.usedGpuMemory for p in processes if p.pid == os.getpid() and p.usedGpuMemory]
    return sum(used) * _MIB if used else None


def nvml_handle(index: int) -> object:
    """Return NVML's handle of the GPU that CUDA calls `index`; NVML itself ignores `CUDA_VISIBLE_DEVICES`."""
    import pynvml

    visible = [v.strip() for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    name = visible[index] if index < len(visible) else str(index)
    if name.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)
