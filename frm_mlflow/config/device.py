"""A device, how it is recognised and how it is reached (`conf/device/`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from frm_mlflow.errors import ConfigError

TRANSPORTS = ("local", "ssh", "adb")
PHONE = "phone"
TOOLS = {"benchmark_model": "litert", "onnxruntime_perf_test": "onnxruntime"}
"""Maps programs that measure on a phone to the runtime that they use."""
FIXED_SSH_OPTIONS = frozenset({"stricthostkeychecking", "batchmode", "controlmaster", "controlpath", "controlpersist"})
"""SSH options that `device.ssh_options` may not change, in lower case."""


@dataclass(frozen=True)
class Recognition:
    """Facts by which hardware is recognised as this device; all given facts must match."""

    gpu: str | None = None
    """Regular expression, searched in the GPU name that NVML reports."""
    gpu_memory_gib: list[float] | None = None
    """Minimum and maximum total memory of the GPU in GiB."""
    cpu: str | None = None
    """Regular expression, searched in the CPU's brand string."""
    azure_vm_size: str | None = None
    """VM size that Azure's instance metadata service reports."""
    board: str | None = None
    """Regular expression, searched in the board name from the device tree (Raspberry Pi, Jetson)."""
    arch: str | None = None
    """The machine's architecture: x86_64, aarch64, ..."""
    emulator: str | None = None
    """Name of the emulator; a device without this fact never matches an emulated machine."""
    phone: str | None = None
    """Regular expression, searched in the phone model that Android reports."""


@dataclass(frozen=True)
class DeviceConfig:
    """A device: its name on the tracking server, its tier and the rule that recognises it."""

    name: str
    tier: str | None
    """gpu, cpu or edge; null for `auto`, which uses the tier of the recognised device."""
    kind: str
    """Where the model runs: cpu, cuda, phone, or auto."""
    recognise: Recognition = field(default_factory=Recognition)
    index: int = 0
    """Index of the GPU in PCI bus order, among those visible through CUDA_VISIBLE_DEVICES."""
    unit: str | None = None
    """Unit that must run the model, if not the default of `kind`: npu, gpu or mixed, of Intel, Apple or Qualcomm."""
    variants: list[str] = field(default_factory=list)
    """Devices that this name also covers (a100: all A100 cards); a run is logged under the name of the variant."""
    transport: str = "local"
    """How the device is reached: local (this machine), ssh or adb."""
    host: str | None = None
    """ssh: destination as passed to `ssh`: `pi@10.0.0.7`, or a host alias from your ssh configuration."""
    port: int | None = None
    python: str = "python3"
    """ssh: Python interpreter on the device, with numpy and the runtime installed; 3.10 or newer."""
    folder: str | None = None
    """Folder on the device for the worker and the models; null: ~/.cache/frm-mlflow, /data/local/tmp/frm on Android."""
    known_hosts: str | None = None
    """ssh: a separate known_hosts file; null uses the user's."""
    ssh_options: dict[str, str] | None = None
    """ssh: additional OpenSSH options by name: {IdentityFile: ..., ProxyJump: ...}."""
    serial: str | None = None
    """adb: serial number of the phone, if several are connected."""
    binary: str | None = None
    """adb: the benchmark program on this machine, built for the phone's processor."""
    tool: str = "benchmark_model"
    """adb: type of that program: benchmark_model (LiteRT) or onnxruntime_perf_test."""
    tool_options: list[str] = field(default_factory=list)
    """adb: additional options of that program: [--use_gpu=true]."""
    connect_timeout_s: float = 10.0
    wait_s: float = 3600.0
    """Maximum time to wait while another process measures on the device; 0 fails immediately."""
    copy_timeout_s: float = 600.0
    """Maximum time that one copy to the device may take."""

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            raise ConfigError(f"device.transport must be one of {', '.join(TRANSPORTS)}, got '{self.transport}'")
        if self.transport == "ssh" and not self.host:
            raise ConfigError("device.transport=ssh needs device.host=USER@HOST")
        if self.tool not in TOOLS:
            raise ConfigError(f"device.tool must be one of {', '.join(TOOLS)}, got '{self.tool}'")
        if (self.transport == "adb") != (self.kind == PHONE):
            raise ConfigError(
                "device=phone and device.transport=adb go together: a phone has no Python to run a worker"
            )
        if self.transport != "ssh" and self.host:
            raise ConfigError(f"device.host={self.host} needs device.transport=ssh")
        if (self.host and not re.fullmatch(r"[\w.@:%\[\]+-]+", self.host)) or (self.host or "").startswith("-"):
            raise ConfigError(f"device.host must be USER@HOST or a name of your ssh configuration, got {self.host!r}")
        options = self.ssh_options or {}
        fixed = sorted(name for name in options if name.lower() in FIXED_SSH_OPTIONS)
        if fixed:
            raise ConfigError(
                f"device.ssh_options must leave {', '.join(fixed)} alone: keys of hosts are always verified, "
                "and no one can answer a prompt"
            )
        words = [word for option in options.items() for word in option]
        if not all(name.isalnum() for name in options) or not all(word.isprintable() for word in words):
            raise ConfigError(f"device.ssh_options must be OpenSSH's options by name, got {dict(options)}")
