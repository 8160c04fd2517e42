"""NVML through pynvml: GPUs and MIG instances as CUDA numbers them after `CUDA_VISIBLE_DEVICES`.

A call that a platform does not support (GB10, Jetson, WSL2, MIG without permission) gives None, never an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
PROHIBITED, EXCLUSIVE = "prohibited", "exclusive_process"
UNKNOWN_NAME = "NVIDIA GPU"
_UUID_KINDS = ("GPU-", "MIG-")

Numbered = tuple[str, Any]
"""A GPU's number in NVML's order ("0:1" for a MIG instance) and its handle."""


@contextmanager
def opened() -> Iterator[tuple[Any, str]]:
    """Yield the initialised NVML module and "", or None and the reason."""
    try:
        import pynvml
    except ModuleNotFoundError:
        yield None, "the package nvidia-ml-py is not installed: pip install nvidia-ml-py"
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield None, reason_of(pynvml, error)
        return
    try:
        yield pynvml, ""
    finally:
        pynvml.nvmlShutdown()


@contextmanager
def handle_of(index: int) -> Iterator[tuple[Any, Any]]:
    """Yield NVML and the handle of a visible GPU; None for both if there is no such GPU."""
    with opened() as (nvml, _):
        gpus = visible(nvml, all_handles(nvml)[0])[0] if nvml is not None else []
        yield (nvml, gpus[index][1]) if index < len(gpus) else (None, None)


def ask(nvml: Any, function: str, *arguments: Any) -> Any:
    """Return what NVML reports, or None if it is not available on this platform, driver or account."""
    call: Callable[..., Any] | None = getattr(nvml, function, None)
    if call is None or arguments[:1] == (None,):
        return None
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def all_handles(nvml: Any) -> tuple[list[Numbered], list[str]]:
    """Return all GPUs, partitioned ones replaced by their MIG instances, and the GPUs that NVML cannot open."""
    handles: list[Numbered] = []
    problems = []
    for number in range(ask(nvml, "nvmlDeviceGetCount") or 0):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
        except nvml.NVMLError as error:
            problems.append(f"GPU {number} is there but cannot be used: {reason_of(nvml, error)}")
            continue
        mode = ask(nvml, "nvmlDeviceGetComputeMode", handle)
        if COMPUTE_MODES.get(mode) == PROHIBITED:
            name = decoded(ask(nvml, "nvmlDeviceGetName", handle)) or UNKNOWN_NAME
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


def visible(nvml: Any, handles: list[Numbered]) -> tuple[list[Numbered], list[str]]:
    """Return the GPUs that CUDA exposes to this process, in its order; NVML itself ignores `CUDA_VISIBLE_DEVICES`."""
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is None:
        return handles, []
    by_uuid = {uuid: pair for pair in handles if (uuid := decoded(ask(nvml, "nvmlDeviceGetUUID", pair[1])))}
    numbers: dict[str, Numbered] = {}
    for pair in handles:
        numbers.setdefault(pair[0].partition(":")[0], pair)  # the number of a partitioned GPU means its first instance
    by_entry = numbers | by_uuid | _by_whole_gpu(nvml, handles)
    entries = visible_entries(variable, numbers=list(numbers), uuids=[e for e in by_entry if e not in numbers])
    selected = {by_entry[entry][0]: by_entry[entry] for entry in entries}
    if selected or not handles:
        return list(selected.values()), []
    return [], [f"CUDA_VISIBLE_DEVICES={variable} hides {_count(len(handles), 'GPU')}: unset it, or name one of them"]


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


def is_partitioned(nvml: Any, handle: Any) -> bool:
    """Return whether MIG is on, as far as NVML reports it."""
    mode = ask(nvml, "nvmlDeviceGetMigMode", handle)
    return mode is not None and bool(mode[0] == nvml.NVML_DEVICE_MIG_ENABLE)


def decoded(name: str | bytes | None) -> str:
    """Return a text of NVML, which is bytes in its older versions; "" if it is not available."""
    if name is None:
        return ""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def reason_of(nvml: Any, error: Any) -> str:
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
    for name, remedy in remedies.items():
        if code is not None and getattr(nvml, name, None) == code:
            return remedy
    return f"NVML reports '{error}': run `nvidia-smi`, which shows the same problem"


def _instances(nvml: Any, handle: Any) -> list[Any] | None:
    """Return a GPU's MIG instances; None if it is not partitioned, or NVML does not list them without permission."""
    count = ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", handle) if is_partitioned(nvml, handle) else None
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


def _by_whole_gpu(nvml: Any, handles: list[Numbered]) -> dict[str, Numbered]:
    """Return the UUIDs of partitioned GPUs, each with its first instance, which is what CUDA gives a process."""
    instances: dict[str, Numbered] = {}
    for number, handle in handles:
        whole = ask(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle) if ":" in number else None
        uuid = decoded(ask(nvml, "nvmlDeviceGetUUID", whole))
        if uuid:
            instances.setdefault(uuid, (number, handle))
    return instances


def _ordinal(entry: str) -> str:
    """Return the number at the start of an entry, parsed like C's strtoul; "" if there is none."""
    digits = entry.removeprefix("+")
    length = next((k for k, letter in enumerate(digits) if letter not in "0123456789"), len(digits))
    return str(int(digits[:length])) if length else ""


def _unique(entry: str, uuids: Sequence[str]) -> str:
    matches = [uuid for uuid in uuids if uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 or entry in matches else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
