"""NVIDIA GPUs as reported by NVML, in CUDA's order after `CUDA_VISIBLE_DEVICES`.

A call that a platform does not support (GB10, Jetson, WSL2, MIG without permission) gives None, never an error.
A GPU that is present but cannot be used is listed in `problems`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CUDA_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""NVML's order, which `device.index` and the numbers in `CUDA_VISIBLE_DEVICES` also use here."""

_MIB = 1 / 2**20
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
_UNKNOWN_NAME = "NVIDIA GPU"
_TEGRA = ("orin", "xavier", "thor", "nvgpu", "tegra")
"""Integrated GPUs of Jetson boards, which CUDA does not select by UUID."""
_COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
_UUID_KINDS = ("GPU-", "MIG-")
PROHIBITED, EXCLUSIVE = "prohibited", "exclusive_process"
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
    with _nvml() as (nvml, reason):
        if nvml is None:
            return Cards(problems=_why_none(reason, root))
        handles, problems = _all_handles(nvml)
        chosen, hidden = _visible(nvml, handles)
        usable = tuple(_card(nvml, index, handle, number) for index, (number, handle) in enumerate(chosen))
        return Cards(usable, tuple(problems + hidden))


def gpus_by_nvml() -> list[dict[str, Any]]:
    """Return the fields of each GPU that CUDA can use; empty without NVML."""
    return [asdict(card) for card in cards().usable]


def show_only(selector: str) -> None:
    """Restrict this process, and CUDA in it, to the GPU of `selector`; must be called before CUDA starts."""
    os.environ.update(CUDA_ORDER)
    if selector:
        os.environ["CUDA_VISIBLE_DEVICES"] = selector


def process_device_mib(index: int) -> float | None:
    """Return the GPU memory used by this process in MiB, or None if NVML does not report it.

    In a container NVML may report process ids of the host, or none. Then this process is not found.
    """
    with _handle(index) as (nvml, handle):
        processes = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle) or []
        used = [p.usedGpuMemory for p in processes if p.pid == os.getpid() and p.usedGpuMemory]
        return sum(used) * _MIB if used else None


def device_used_mib(index: int) -> float | None:
    """Return the GPU memory used by all processes in MiB, or None if NVML does not report it."""
    with _handle(index) as (nvml, handle):
        memory = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
        return None if memory is None else float(memory.used) * _MIB


def energy_mj(index: int) -> float | None:
    """Return NVML's energy counter in millijoules, or None if the GPU has none (before Volta, most Jetsons)."""
    with _handle(index) as (nvml, handle):
        value = _ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", handle)
        return None if value is None else float(value)


def gpu_conditions(index: int) -> dict[str, float]:
    """Return temperature, clocks, power, throttling and the number of processes, as far as NVML reports them."""
    with _handle(index) as (nvml, handle):
        if handle is None:
            return {}
        processes = _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle)
        milliwatts = _ask(nvml, "nvmlDeviceGetPowerUsage", handle)
        readings = {
            "gpu_temperature_c": _ask(nvml, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
            "gpu_sm_clock_mhz": _ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            "gpu_memory_clock_mhz": _ask(nvml, "nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
            "gpu_power_w": None if milliwatts is None else milliwatts / 1000,
            "gpu_throttle_reasons": _ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle),
            "gpu_processes": None if processes is None else len(processes),
        }
        return {name: float(value) for name, value in readings.items() if value is not None}


def gpu_settings(index: int) -> dict[str, float]:
    """Return settings of the administrator that a benchmark only records: power limit, persistence, compute mode."""
    with _handle(index) as (nvml, handle):
        if handle is None:
            return {}
        milliwatts = _ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)
        readings = {
            "gpu_power_limit_w": None if milliwatts is None else milliwatts / 1000,
            "gpu_persistence_mode": _ask(nvml, "nvmlDeviceGetPersistenceMode", handle),
            "gpu_compute_mode": _ask(nvml, "nvmlDeviceGetComputeMode", handle),
        }
        return {name: float(value) for name, value in readings.items() if value is not None}


def throttle_reasons(bits: int) -> tuple[str, ...]:
    """Return the reasons in `bits` that make the GPU run slower under load.

    >>> throttle_reasons(0x1 | 0x4 | 0x40)
    ('power cap', 'hardware thermal slowdown')
    """
    return tuple(words for bit, words in THROTTLE_REASONS.items() if bits & bit)


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


def visible_entries(variable: str, *, numbers: Sequence[str], uuids: Sequence[str]) -> list[str]:
    """Return the entries of `CUDA_VISIBLE_DEVICES` that CUDA accepts: those before the first invalid one.

    Parameters
    ----------
    numbers
        The ordinals that exist.
    uuids
        All UUIDs of GPUs and MIG instances; an entry may be a prefix of exactly one of them.

    Returns
    -------
    list of str
        Ordinals and full UUIDs. Empty if an entry is repeated, as with CUDA.

    >>> visible_entries("GPU-90,GPU-8a", numbers=["0", "1"], uuids=["GPU-8a32", "GPU-90fe"])
    ['GPU-90fe', 'GPU-8a32']
    >>> visible_entries("1,-1,0", numbers=["0", "1"], uuids=[])
    ['1']
    """
    accepted: list[str] = []
    for entry in (part.strip() for part in variable.split(",")):
        meant = _unique(entry, uuids) if entry.startswith(_UUID_KINDS) else _ordinal(entry)
        if meant not in numbers and meant not in uuids:
            break
        if meant in accepted:
            return []
        accepted.append(meant)
    return accepted


def _ordinal(entry: str) -> str:
    """Return the number at the start of an entry, parsed like C's strtoul; "" if there is none."""
    digits = entry.removeprefix("+")
    length = next((k for k, letter in enumerate(digits) if letter not in "0123456789"), len(digits))
    return str(int(digits[:length])) if length else ""


def _unique(entry: str, uuids: Sequence[str]) -> str:
    matches = [uuid for uuid in uuids if uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 or entry in matches else ""


Numbered = tuple[str, Any]
"""A GPU's number in NVML's order ("0:1" for a MIG instance) and its handle."""


@contextmanager
def _nvml() -> Iterator[tuple[Any, str]]:
    """Yield the initialised NVML module and "", or None and the reason."""
    try:
        import pynvml
    except ModuleNotFoundError:
        yield None, "the package nvidia-ml-py is not installed: pip install nvidia-ml-py"
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield None, _reason(pynvml, error)
        return
    try:
        yield pynvml, ""
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def _handle(index: int) -> Iterator[tuple[Any, Any]]:
    """Yield NVML and the handle of a visible GPU; None for both if there is no such GPU."""
    with _nvml() as (nvml, _):
        chosen = _visible(nvml, _all_handles(nvml)[0])[0] if nvml is not None else []
        yield (nvml, chosen[index][1]) if index < len(chosen) else (None, None)


def _ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """Return what NVML reports, or None if it is not available on this platform, driver or account."""
    call: Callable[..., Any] | None = getattr(nvml, function, None)
    if call is None or arguments[:1] == (None,):
        return None
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _all_handles(nvml: Any) -> tuple[list[Numbered], list[str]]:
    """Return all GPUs, partitioned ones replaced by their MIG instances, and the GPUs that NVML cannot open."""
    handles: list[Numbered] = []
    problems = []
    for number in range(_ask(nvml, "nvmlDeviceGetCount") or 0):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
        except nvml.NVMLError as error:
            problems.append(f"GPU {number} is there but cannot be used: {_reason(nvml, error)}")
            continue
        mode = _ask(nvml, "nvmlDeviceGetComputeMode", handle)
        if _COMPUTE_MODES.get(mode) == PROHIBITED:
            name = _words(_ask(nvml, "nvmlDeviceGetName", handle)) or _UNKNOWN_NAME
            problems.append(
                f"GPU {number} '{name}' is there but cannot be used: its compute mode is prohibited; "
                f"set it with `nvidia-smi -i {number} -c DEFAULT`"
            )
            continue
        instances = _instances(nvml, handle)
        if instances == []:
            problems.append(
                f"GPU {number} is there but cannot be used: MIG is on and it has no instances; "
                f"create one with `nvidia-smi mig -i {number} -cgi PROFILE -C`, or turn MIG off"
            )
            continue
        handles += [(f"{number}:{k}", part) for k, part in enumerate(instances or [])] or [(str(number), handle)]
    return handles, problems


def _instances(nvml: Any, handle: Any) -> list[Any] | None:
    """Return a GPU's MIG instances; None if it is not partitioned, or NVML does not list them without permission."""
    count = _ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) if _is_cut(nvml, handle) else None
    if not count:
        return None
    instances = []
    for k in range(count):
        try:
            instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, k))
        except nvml.NVMLError as error:
            if getattr(error, "value", None) != nvml.NVML_ERROR_NOT_FOUND:
                return None
    return instances


def _visible(nvml: Any, handles: list[Numbered]) -> tuple[list[Numbered], list[str]]:
    """Return the GPUs that CUDA exposes to this process, in its order; NVML itself ignores `CUDA_VISIBLE_DEVICES`."""
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is None:
        return handles, []
    by_uuid = {uuid: pair for pair in handles if (uuid := _words(_ask(nvml, "nvmlDeviceGetUUID", pair[1])))}
    numbers: dict[str, Numbered] = {}
    for pair in handles:
        numbers.setdefault(pair[0].partition(":")[0], pair)  # the number of a partitioned GPU means its first instance
    by_entry = numbers | by_uuid | _by_whole_gpu(nvml, handles)
    entries = visible_entries(variable, numbers=list(numbers), uuids=[e for e in by_entry if e not in numbers])
    chosen = {by_entry[entry][0]: by_entry[entry] for entry in entries}
    if chosen or not handles:
        return list(chosen.values()), []
    return [], [f"CUDA_VISIBLE_DEVICES={variable} hides {_count(len(handles), 'GPU')}: unset it, or name one of them"]


def _by_whole_gpu(nvml: Any, handles: list[Numbered]) -> dict[str, Numbered]:
    """Return the UUIDs of partitioned GPUs, each with its first instance, which is what CUDA gives a process."""
    found: dict[str, Numbered] = {}
    for number, handle in handles:
        whole = _ask(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle) if ":" in number else None
        uuid = _words(_ask(nvml, "nvmlDeviceGetUUID", whole))
        if uuid:
            found.setdefault(uuid, (number, handle))
    return found


def _card(nvml: Any, index: int, handle: Any, number: str) -> Card:
    version = _ask(nvml, "nvmlSystemGetCudaDriverVersion_v2")
    uuid = _words(_ask(nvml, "nvmlDeviceGetUUID", handle))
    mode = _ask(nvml, "nvmlDeviceGetComputeMode", handle)
    capability = _ask(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    name = _name(nvml, handle, number)
    is_unknown_slice = " MIG" in name and ":" not in number  # the memory of the whole GPU is not that of the slice
    memory = None if is_unknown_slice else _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)
    used = getattr(memory, "used", None)
    return Card(
        index=index,
        name=name,
        memory_mib=None if memory is None else float(memory.total) * _MIB,
        driver=_words(_ask(nvml, "nvmlSystemGetDriverVersion")),
        uuid=uuid,
        selector=number if not uuid or _is_tegra(name) else uuid,
        compute_capability=None if capability is None else (int(capability[0]), int(capability[1])),
        cuda_version=f"{version // 1000}.{version % 1000 // 10}" if version else "",
        compute_mode=_COMPUTE_MODES.get(mode, "") if mode is not None else "",
        used_mib=None if used is None else float(used) * _MIB,
    )


def _name(nvml: Any, handle: Any, number: str) -> str:
    """Return NVML's name, plus ` MIG` for a partitioned GPU whose instances are not listed or have no name."""
    whole = _ask(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle) if ":" in number else None
    name = _words(_ask(nvml, "nvmlDeviceGetName", handle)) or _words(_ask(nvml, "nvmlDeviceGetName", whole))
    name = name or _UNKNOWN_NAME
    is_cut = ":" in number or _is_cut(nvml, handle)
    return f"{name} MIG" if is_cut and " MIG" not in name else name


def _is_tegra(name: str) -> bool:
    return any(word in name.lower() for word in _TEGRA)


def _is_cut(nvml: Any, handle: Any) -> bool:
    mode = _ask(nvml, "nvmlDeviceGetMigMode", handle)
    return mode is not None and bool(mode[0] == nvml.NVML_DEVICE_MIG_ENABLE)


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


def _reason(nvml: Any, error: Any) -> str:
    """Return what NVML's error means here and how to fix it."""
    remedies = {
        "NVML_ERROR_DRIVER_NOT_LOADED": "its driver is not loaded: run `sudo modprobe nvidia`, or install the driver",
        "NVML_ERROR_LIBRARY_NOT_FOUND": "libnvidia-ml.so.1 is not found: install NVIDIA's driver, or start the "
        "container with `--gpus all`",
        "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "the driver's library and kernel module have different versions: "
        "restart the machine",
        "NVML_ERROR_NO_PERMISSION": "this user has no permission for it: ask for access to /dev/nvidia*",
        "NVML_ERROR_GPU_IS_LOST": "it has fallen off the bus: restart the machine",
        "NVML_ERROR_RESET_REQUIRED": "it needs a reset: ask the administrator for `nvidia-smi --gpu-reset`",
        "NVML_ERROR_INSUFFICIENT_POWER": "its power cables are not attached properly: check them",
        "NVML_ERROR_GPU_NOT_FOUND": "the driver does not find it: run `nvidia-smi`",
        "NVML_ERROR_IRQ_ISSUE": "it has an interrupt problem: see `dmesg`",
    }
    code = getattr(error, "value", None)
    for name, words in remedies.items():
        if code is not None and getattr(nvml, name, None) == code:
            return words
    return f"NVML reports '{error}': run `nvidia-smi`, which shows the same problem"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _words(name: str | bytes | None) -> str:
    if name is None:
        return ""
    return name.decode(errors="replace") if isinstance(name, bytes) else name
