"""The hardware of this or another machine: the facts that `worker.machine` reports, with types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frm_mlflow.worker import machine
from frm_mlflow.worker.accelerator import Card as Gpu
from frm_mlflow.worker.machine import AZURE_ASSET_TAG, Fetch, allowed_cpus, physical_cores

__all__ = ["AZURE_ASSET_TAG", "Gpu", "Hardware", "allowed_cpus", "hardware_of", "physical_cores", "probe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine: processor, memory, GPUs, and its instance type as its cloud reports it."""

    cpu: str
    physical_cores: int
    """Physical cores among the processors that this process may use."""
    logical_cores: int
    """Logical processors of the machine."""
    allowed_cpus: tuple[int, ...]
    """Logical processors that this process may use."""
    memory_mib: float
    gpus: tuple[Gpu, ...] = ()
    """NVIDIA GPUs and MIG instances that CUDA can use, in CUDA's order."""
    gpu_problems: tuple[str, ...] = ()
    """One sentence for each GPU that is present but cannot be used."""
    azure_vm_size: str = ""
    board: str = ""
    """The board's name in the device tree (Jetson, Raspberry Pi)."""
    os: str = ""
    arch: str = ""
    emulator: str = ""
    """The emulator that translates the instructions (`qemu-user`); empty on a real machine."""
    phone: str = ""
    """A phone's model as Android reports it (`ro.product.model`)."""

    def describe(self) -> str:
        """Return the machine in a few words, for messages."""
        parts = [f"phone '{self.phone}'"] if self.phone else []
        parts += [f"board '{self.board}'"] if self.board else []
        parts += [f"CPU '{self.cpu}' with {self.physical_cores} cores"]
        parts += [f"{self.arch} emulated by {self.emulator}"] if self.emulator else []
        parts += [", ".join(f"GPU {gpu.index} '{gpu.name}'" for gpu in self.gpus)] if self.gpus else []
        parts += [*self.gpu_problems] if self.gpu_problems else [] if self.gpus else ["no NVIDIA GPU"]
        parts += [f"Azure {self.azure_vm_size}"] if self.azure_vm_size else []
        return ", ".join(parts)


def probe(*, root: Path = Path("/"), fetch: Fetch | None = None) -> Hardware:
    """Return the hardware of this machine; tests replace the file system (`root`) and the network (`fetch`)."""
    return hardware_of(machine.hardware(root=root, fetch=fetch))


def hardware_of(facts: Mapping[str, Any]) -> Hardware:
    """Return the hardware from the facts that a machine reported (`worker.machine.hardware`)."""
    tuples = {key: tuple(facts[key]) for key in ("allowed_cpus", "gpu_problems")}
    return Hardware(**{**facts, **tuples, "gpus": tuple(_gpu(gpu) for gpu in facts["gpus"])})


def _gpu(facts: Mapping[str, Any]) -> Gpu:
    capability = facts["compute_capability"]
    return Gpu(**{**facts, "compute_capability": tuple(capability) if capability else None})
