"""Match hardware to device names: a run gets a device's name only if the hardware was recognised as that device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import yaml

from frm_mlflow.config import PHONE, DeviceConfig, Recognition, checked
from frm_mlflow.devices import catalogue
from frm_mlflow.devices.hardware import Hardware
from frm_mlflow.errors import ConfigError, DeviceMismatchError

AUTO = "auto"
CPU = "cpu"
CUDA = "cuda"
GENERIC = (AUTO, CPU, CUDA)
"""Names that any machine may have; its chip identifies it further."""
_UNIT_OF_OPTION = {
    "--use_gpu=true": "gpu",
    "--use_nnapi=true": "npu",
    "--use_hexagon=true": "npu",
}
"""Options of benchmark_model that run the model on something other than the CPU."""
_UNIT_OF_KIND = {CPU: "cpu", CUDA: "gpu"}


@dataclass(frozen=True, slots=True)
class Device:
    """Detected hardware, under the device name that its runs get."""

    name: str
    tier: str
    kind: str
    """What the model runs on: cpu, cuda or phone."""
    chip: str
    compute_unit: str
    index: int = 0
    """Index of the GPU, as CUDA numbers them by PCI bus."""
    uuid: str = ""
    """The GPU's unique ID, if NVML reports it; a worker must report the same one."""
    selector: str = ""
    """Value of `CUDA_VISIBLE_DEVICES` in a worker, so that it sees only this card; empty leaves it unchanged."""
    notes: tuple[str, ...] = ()
    """What a user should know about the choice, such as another card in the machine or a GPU that cannot be used."""

    @property
    def export_unit(self) -> str:
        """The compute unit for which a model is exported; every device but CUDA uses the CPU's export."""
        return "gpu" if self.kind == CUDA else "cpu"

    @property
    def worker_index(self) -> int:
        """The card's index within a worker, which sees only this card if it has a selector."""
        return 0 if self.selector else self.index


@cache
def known_devices() -> tuple[DeviceConfig, ...]:
    """Return every device in `conf/device/` with a recognition rule, by name."""
    folder = resources.files("frm_mlflow.conf") / "device"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    configs = [checked(DeviceConfig, yaml.safe_load(f.read_text()), where=f"device/{f.name}") for f in files]
    return tuple(c for c in configs if c.recognise != Recognition())


def settings_name(name: str) -> str:
    """Return the name in `conf/device/` of the device commonly called `name`, or `name` itself.

    >>> settings_name("RTX 6000 Ada"), settings_name("NVIDIA A100-SXM4-40GB"), settings_name("Pixel of mine")
    ('rtx_6000_ada', 'a100_40gb', 'Pixel of mine')
    """
    facts = catalogue.find(name.strip("'\""))
    return facts.name if facts is not None and facts.name in {c.name for c in known_devices()} else name


def resolve(config: DeviceConfig, *, hardware: Hardware, known: Sequence[DeviceConfig]) -> Device:
    """Return the device that `config` names, verified against the hardware.

    `auto` takes the first of `known` that matches the hardware, else the generic GPU or CPU.

    Raises
    ------
    DeviceMismatchError
        If the hardware does not match: one sentence with what was found and the remedy.
    """
    if config.kind == PHONE:
        return _phone(config, hardware)
    where = f"the machine at {config.host}" if config.host else "this machine"
    if config.name not in GENERIC and config.recognise == Recognition():
        raise ConfigError(
            f"device={config.name} has no recognition rule, and a run may only have the name of a recognised device: "
            f"set device.recognise (cpu, gpu, board, arch, ...; found {hardware.describe()}), or choose device=auto"
        )
    asked = config
    if config.kind == AUTO:
        if config.index and config.index >= len(hardware.gpus):
            raise DeviceMismatchError(f"device.index={config.index} does not exist: {_indices(hardware)}.")
        config = _recognised(config.index, hardware, known) or _generic(config.index, hardware)
    mismatch = _mismatch(config, hardware)
    if mismatch:
        other = _recognised(config.index, hardware, known) or _generic(config.index, hardware)
        if other.name in config.variants:
            return _device(other, hardware, (f"device={config.name} is a {other.name} here: runs have that name",))
        raise DeviceMismatchError(
            f"device={config.name} is not {where}: {mismatch} (found {hardware.describe()}); "
            f"{_remedy(config, other, hardware)}."
        )
    return _device(config, hardware, _notes(asked, config, hardware))


def _device(config: DeviceConfig, hardware: Hardware, notes: tuple[str, ...]) -> Device:
    tier = config.tier or ("gpu" if config.kind == CUDA else "cpu")
    unit = config.unit or _UNIT_OF_KIND[config.kind]
    if config.kind != CUDA:
        return Device(config.name, tier, config.kind, _cpu_chip(hardware), unit, notes=notes)
    gpu = hardware.gpus[config.index]
    facts = catalogue.find(config.name)
    chip = gpu.name if facts is None or facts.name != config.name else facts.chip  # drivers spell a chip in two ways
    return Device(config.name, tier, CUDA, chip, unit, config.index, gpu.uuid, gpu.selector, notes)


def _notes(asked: DeviceConfig, config: DeviceConfig, hardware: Hardware) -> tuple[str, ...]:
    """Return the notes for `device=auto`: which of several cards it took, or why it took none."""
    if asked.kind != AUTO:
        return ()
    names = {gpu.name for gpu in hardware.gpus}
    if config.kind == CUDA and len(names) > 1 and not asked.index:
        others = ", ".join(f"{gpu.index} '{gpu.name}'" for gpu in hardware.gpus)
        return (
            f"device=auto takes GPU 0, the first by PCI bus, of GPUs {others}: device.index=N takes another",
            *hardware.gpu_problems,
        )
    if config.kind == CPU and hardware.gpu_problems:
        return tuple(f"device=auto takes the processor: {problem}" for problem in hardware.gpu_problems)
    return hardware.gpu_problems


def _remedy(config: DeviceConfig, other: DeviceConfig, hardware: Hardware) -> str:
    elsewhere = (k for k in range(len(hardware.gpus)) if not _mismatch(replace(config, index=k), hardware))
    index = next(elsewhere, None) if config.kind == CUDA and config.name != CUDA else None
    if index is not None:
        return f"GPU {index} is one: set device.index={index}"
    return f"run it on such a machine, or choose device={other.name} or device=auto"


def _indices(hardware: Hardware) -> str:
    count = len(hardware.gpus)
    if not count:
        return f"no GPU can be used (found {hardware.describe()})"
    return f"the GPUs that can be used are {', '.join(f'{gpu.index} ({gpu.name})' for gpu in hardware.gpus)}"


def _phone(config: DeviceConfig, hardware: Hardware) -> Device:
    """Return the phone under its name in the catalogue, or under `config.name` if its recognition rule matches."""
    unit = next((unit for flag, unit in _UNIT_OF_OPTION.items() if flag in config.tool_options), "cpu")
    facts = catalogue.find_phone(hardware.phone, hardware.cpu)
    chip = catalogue.chip_name(hardware.cpu)
    if config.name == PHONE and facts is not None and not hardware.emulator:
        return Device(facts.name, facts.tier, PHONE, chip, unit)
    found = f"found {hardware.describe()}"
    if config.name == PHONE:
        raise DeviceMismatchError(
            f"no phone with this name and chip is in the catalogue ({found}): "
            "set device.name=NAME and device.recognise.phone=REGEX."
        )
    if config.recognise.phone is None:
        raise ConfigError(f"device.name={config.name} needs device.recognise.phone=REGEX to be recognised by ({found})")
    mismatch = _mismatch(config, hardware)
    if not re.search(config.recognise.phone, hardware.phone):
        mismatch = f"it needs a phone whose model matches '{config.recognise.phone}'"
    if mismatch:
        raise DeviceMismatchError(f"device={config.name} is not this phone: {mismatch} ({found}).")
    return Device(config.name, config.tier or "edge", PHONE, chip, unit)


def _cpu_chip(hardware: Hardware) -> str:
    if hardware.emulator:
        return f"{hardware.arch} by {hardware.emulator} on {hardware.cpu}"
    return hardware.board or hardware.cpu


def _recognised(index: int, hardware: Hardware, known: Sequence[DeviceConfig]) -> DeviceConfig | None:
    """Return the first of `known` that matches the hardware, GPUs before CPUs."""
    placed = [replace(c, index=index if c.kind == CUDA else 0) for c in known]
    matches = [c for c in placed if not _mismatch(c, hardware)]
    gpus = [c for c in matches if c.kind == CUDA]
    if not gpus and index < len(hardware.gpus) and not hardware.emulator:
        return None
    return next(iter(gpus or matches), None)


def _generic(index: int, hardware: Hardware) -> DeviceConfig:
    if index < len(hardware.gpus):
        return DeviceConfig(CUDA, "gpu", CUDA, index=index)
    return DeviceConfig(CPU, "cpu", CPU)


def _mismatch(config: DeviceConfig, hardware: Hardware) -> str:
    """Return why the hardware is not this device, or "" if it is."""
    rule = config.recognise
    if hardware.emulator and rule.emulator is None:
        return f"its processor is emulated by {hardware.emulator}"
    if rule.emulator is not None and rule.emulator != hardware.emulator:
        return f"it needs a processor emulated by {rule.emulator}"
    if rule.arch is not None and rule.arch != hardware.arch:
        return f"it needs the architecture {rule.arch}, and this is {hardware.arch}"
    if rule.board is not None and not re.search(rule.board, hardware.board):
        return f"it needs a board whose name matches '{rule.board}'"
    if config.kind == CUDA and not hardware.gpus:
        return "it needs an NVIDIA GPU and none can be used"
    if config.kind == CUDA and config.index >= len(hardware.gpus):
        return f"it asks for GPU {config.index}, and {_indices(hardware)}"
    if rule.gpu is not None:
        gpu = hardware.gpus[config.index]
        if not re.search(rule.gpu, gpu.name):
            return f"it needs a GPU whose name matches '{rule.gpu}'"
        if rule.gpu_memory_gib is not None and not _within(gpu.memory_mib, rule.gpu_memory_gib):
            low, high = rule.gpu_memory_gib
            return f"it needs a GPU with {low:g} to {high:g} GiB of memory"
    if rule.cpu is not None and not re.search(rule.cpu, hardware.cpu):
        return f"it needs a CPU whose name matches '{rule.cpu}'"
    if rule.azure_vm_size is not None and rule.azure_vm_size.lower() != hardware.azure_vm_size.lower():
        return f"it needs an Azure virtual machine of size {rule.azure_vm_size}"
    return ""


def _within(memory_mib: float | None, bounds_gib: Sequence[float]) -> bool:
    """Whether the memory is within the bounds; unknown memory is not."""
    low, high = bounds_gib
    return memory_mib is not None and low <= memory_mib / 1024 <= high
