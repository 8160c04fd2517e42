"""What hardware this machine has. Nothing here imports torch or starts a GPU context."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frm_mlflow.worker.accelerator import gpus_by_nvml

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
"""What Azure's hypervisor writes as the chassis asset tag of every virtual machine."""

_AZURE_VM_SIZE_URL = "http://169.254.169.254/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
_AZURE_TIMEOUT_S = 2.0
_MIB = 1 / 2**20

Fetch = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU as CUDA numbers them; `name` is NVML's, with ` MIG` added where it is partitioned."""

    index: int
    name: str
    memory_mib: float
    driver: str
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine: processor, memory, GPUs, and what a cloud says that it is."""

    cpu: str
    physical_cores: int
    """Physical cores among the processors that this process may use."""
    logical_cores: int
    """Logical processors of the machine."""
    allowed_cpus: tuple[int, ...]
    """Logical processors that this process may use."""
    memory_mib: float
    gpus: tuple[Gpu, ...] = ()
    azure_vm_size: str = ""
    board: str = ""
    """What the device tree calls the board (Jetson, Raspberry Pi)."""
    os: str = ""
    arch: str = ""

    def describe(self) -> str:
        """Return the machine in a few words, for messages."""
        gpus = ", ".join(f"GPU {gpu.index} '{gpu.name}'" for gpu in self.gpus) or "no NVIDIA GPU"
        azure = f", Azure {self.azure_vm_size}" if self.azure_vm_size else ""
        return f"CPU '{self.cpu}' with {self.physical_cores} cores, {gpus}{azure}"


def probe(*, root: Path = Path("/"), fetch: Fetch | None = None) -> Hardware:
    """Return what this machine is; `root` and `fetch` are the file system and the network, for tests."""
    allowed = allowed_cpus()
    return Hardware(
        cpu=_cpu_brand(root),
        physical_cores=physical_cores(allowed, root=root),
        logical_cores=os.cpu_count() or 1,
        allowed_cpus=allowed,
        memory_mib=_memory_mib(),
        gpus=tuple(Gpu(**gpu) for gpu in gpus_by_nvml()),
        azure_vm_size=_azure_vm_size(root, fetch or _fetch_metadata),
        board=_text(root / "proc/device-tree/model"),
        os=f"{platform.system()} {platform.release()}",
        arch=platform.machine(),
    )


def allowed_cpus() -> tuple[int, ...]:
    """Return the logical processors that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def physical_cores(cpus: tuple[int, ...], *, root: Path = Path("/")) -> int:
    """Return how many physical cores these logical processors stand on; siblings count once.

    Without the kernel's topology (not Linux) every processor counts.
    """
    cores = set()
    for cpu in cpus:
        siblings = _text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return max(1, len(cores))


def _cpu_brand(root: Path) -> str:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    info = _text(root / "proc/cpuinfo")
    for key in ("model name", "Model", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", info, re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def _memory_mib() -> float:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _MIB
    import psutil

    return float(psutil.virtual_memory().total) * _MIB


def _azure_vm_size(root: Path, fetch: Fetch) -> str:
    """Ask Azure's metadata service, but only on a machine whose firmware says that it is Azure's."""
    if _text(root / "sys/class/dmi/id/chassis_asset_tag") != AZURE_ASSET_TAG:
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


def _text(path: Path) -> str:
    """Return a small system file's text without its end, or "" where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
