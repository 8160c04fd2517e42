"""A run carries a device's name only where the hardware was recognised as that device."""

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
"""Names that any machine may carry; its chip tells more."""
_UNIT_OF_OPTION = {
    "--use_gpu=true": "gpu",
    "--use_nnapi=true": "npu",
    "--use_hexagon=true": "npu",
}
"""Options of benchmark_model that leave the processor."""
_UNIT_OF_KIND = {CPU: "cpu", CUDA: "gpu"}


@dataclass(frozen=True, slots=True)
class Device:
    """Hardware that was found, under the name that runs carry."""

    name: str
    tier: str
    kind: str
    """Where the model runs: cpu, cuda or phone."""
    chip: str
    compute_unit: str
    index: int = 0

    @property
    def export_unit(self) -> str:
        """The compute unit that a model is exported for; a phone's delegates take what its processor takes."""
        return "cpu" if self.kind == PHONE else self.compute_unit


@cache
def known_devices() -> tuple[DeviceConfig, ...]:
    """Return every device of `conf/device/` that has a rule to be recognised by, by name."""
    folder = resources.files("frm_mlflow.conf") / "device"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    configs = [checked(DeviceConfig, yaml.safe_load(f.read_text()), where=f"device/{f.name}") for f in files]
    return tuple(c for c in configs if c.recognise != Recognition())


def resolve(config: DeviceConfig, *, hardware: Hardware, known: Sequence[DeviceConfig]) -> Device:
    """Return the device that `config` names, verified against the hardware.

    `auto` takes the first of `known` that the hardware is, else the generic GPU or CPU.

    Raises
    ------
    DeviceMismatchError
        Where the hardware is something else: one sentence with what was found and what to do.
    """
    if config.kind == PHONE:
        return _phone(config, hardware)
    where = f"the machine at {config.host}" if config.host else "this machine"
    if config.name not in GENERIC and config.recognise == Recognition():
        raise ConfigError(
            f"device={config.name} has no rule to be recognised by, and a run carries no name that nobody checks: "
            f"set device.recognise (cpu, gpu, board, arch, ...; found {hardware.describe()}), or choose device=auto"
        )
    if config.kind == AUTO:
        config = _recognised(config.index, hardware, known) or _generic(config.index, hardware)
    mismatch = _mismatch(config, hardware)
    if mismatch:
        other = _recognised(config.index, hardware, known) or _generic(config.index, hardware)
        raise DeviceMismatchError(
            f"device={config.name} is not {where}: {mismatch} (found {hardware.describe()}); "
            f"run it on such a machine, or choose device={other.name} or device=auto."
        )
    chip = hardware.gpus[config.index].name if config.kind == CUDA else _cpu_chip(hardware)
    tier = config.tier or ("gpu" if config.kind == CUDA else "cpu")
    return Device(config.name, tier, config.kind, chip, _UNIT_OF_KIND[config.kind], config.index)


def _phone(config: DeviceConfig, hardware: Hardware) -> Device:
    """Return the phone under the catalogue's name, or under its own where a rule says so."""
    unit = next((unit for flag, unit in _UNIT_OF_OPTION.items() if flag in config.tool_options), "cpu")
    facts = catalogue.find_phone(hardware.phone, hardware.cpu)
    chip = catalogue.chip_name(hardware.cpu)
    if config.name == PHONE and facts is not None and not hardware.emulator:
        return Device(facts.name, facts.tier, PHONE, chip, unit)
    found = f"found {hardware.describe()}"
    if config.name == PHONE:
        raise DeviceMismatchError(
            f"device=phone is no phone that the catalogue knows with this chip ({found}): "
            "give it a name of its own, with device.name=NAME and device.recognise.phone=REGEX."
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
    placed = (replace(c, index=index if c.kind == CUDA else 0) for c in known)
    return next((c for c in placed if not _mismatch(c, hardware)), None)


def _generic(index: int, hardware: Hardware) -> DeviceConfig:
    if index < len(hardware.gpus):
        return DeviceConfig(CUDA, "gpu", CUDA, index=index)
    return DeviceConfig(CPU, "cpu", CPU)


def _mismatch(config: DeviceConfig, hardware: Hardware) -> str:
    """Return why the hardware is not this device, or "" where it is."""
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
        return "it needs an NVIDIA GPU and NVML sees none"
    if config.kind == CUDA and config.index >= len(hardware.gpus):
        return f"it asks for GPU {config.index} and there are {len(hardware.gpus)}"
    if rule.gpu is not None:
        gpu = hardware.gpus[config.index]
        if not re.search(rule.gpu, gpu.name):
            return f"it needs a GPU whose name matches '{rule.gpu}'"
        if rule.gpu_memory_gib is not None and not _within(gpu.memory_mib / 1024, rule.gpu_memory_gib):
            low, high = rule.gpu_memory_gib
            return f"it needs a GPU with {low:g} to {high:g} GiB of memory"
    if rule.cpu is not None and not re.search(rule.cpu, hardware.cpu):
        return f"it needs a CPU whose name matches '{rule.cpu}'"
    if rule.azure_vm_size is not None and rule.azure_vm_size.lower() != hardware.azure_vm_size.lower():
        return f"it needs an Azure virtual machine of size {rule.azure_vm_size}"
    return ""


def _within(value: float, bounds: Sequence[float]) -> bool:
    low, high = bounds
    return low <= value <= high
