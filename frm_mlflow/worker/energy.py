"""Energy from hardware counters: NVML for GPUs, zeus for others. Without a counter no value is reported, never 0."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .accelerator import energy_mj
from .sessions.base import Session
from .timing import Clock

NVML, RAPL, SOC = "nvml", "rapl", "soc"
PERIOD_MS = {NVML: 100.0, RAPL: 1.0, SOC: 100.0}
"""Longest update period of each counter: NVML's total energy 20 to 100 ms, RAPL 1 ms, SoC sensors about 100 ms."""
LEAST_PERIODS = 20
"""A window of this many periods has an error of at most 5 % at its ends."""

_WINDOW = "frm"
_MJ = 1000.0


class EnergyMeter(Protocol):
    """A running energy counter."""

    counter: str
    source: str
    """What reads the counter: nvml, or a zeus counter such as zeus:rapl."""

    def start(self) -> None:
        """Begin a window."""

    def stop_mj(self) -> float:
        """End the window and return the millijoules used in it."""


@dataclass(frozen=True)
class Energy:
    """Total energy used in a window of calls, including the device's idle power."""

    millijoules: float
    runs: int
    seconds: float
    meter: str
    period_ms: float


class NvmlMeter:
    """A GPU's total energy counter, which starts when the driver is loaded (Volta or newer)."""

    counter = source = NVML

    def __init__(self, index: int) -> None:
        self._index = index
        self._started_mj = 0.0

    def start(self) -> None:
        """Read the counter."""
        self._started_mj = self._read_mj()

    def stop_mj(self) -> float:
        """Read the counter again and return the difference."""
        return self._read_mj() - self._started_mj

    def _read_mj(self) -> float:
        value = energy_mj(self._index)
        if value is None:
            raise OSError("NVML reported the GPU's energy before and does not any more")
        return value


class ZeusMeter:
    """One of zeus's counters: NVML for a GPU, RAPL for CPU packages (with DRAM), or a SoC's own counter."""

    def __init__(self, monitor: Any, counter: str) -> None:
        self.counter = counter
        self.source = f"zeus:{counter}"
        self._monitor = monitor

    def start(self) -> None:
        """Begin zeus's window; the caller must have synchronised."""
        self._monitor.begin_window(_WINDOW, sync_execution=False)

    def stop_mj(self) -> float:
        """End zeus's window."""
        return float(self._monitor.end_window(_WINDOW, sync_execution=False).total_energy) * _MJ


def energy_meter(kind: str, index: int, *, root: Path = Path("/")) -> EnergyMeter | None:
    """Return the meter of this device, or None if there is none or zeus is not installed.

    A GPU's counter does not need zeus, which samples the power of GPUs without a counter. zeus takes seconds to
    import, so the files that a counter needs are checked first.
    """
    if kind == "cuda" and energy_mj(index) is not None:
        return NvmlMeter(index)
    if kind != "cuda" and not _may_have_counter(root):
        return None
    try:
        from zeus.monitor.energy import ZeusMonitor
    except ModuleNotFoundError:
        return None
    if kind == "cuda":
        monitor = ZeusMonitor(gpu_indices=[index], cpu_indices=[])
        return ZeusMeter(monitor, NVML) if len(monitor.gpus) else None
    monitor = ZeusMonitor(gpu_indices=[], cpu_indices=None)
    if monitor.soc_is_present:
        return ZeusMeter(monitor, SOC)
    return ZeusMeter(monitor, RAPL) if monitor.cpu_indices else None


def measure_energy(
    session: Session, meter: EnergyMeter, *, seconds: float, clock: Clock = time.perf_counter_ns
) -> Energy | None:
    """Call the session for at least `seconds` (and twenty periods of the counter) in one window.

    Return None if the counter did not change, since it then does not measure this device.
    """
    period_ms = PERIOD_MS[meter.counter]
    wanted_ns = max(seconds * 1e9, LEAST_PERIODS * period_ms * 1e6)
    session.synchronise()
    runs, started = 0, clock()
    meter.start()
    while clock() - started < wanted_ns:
        session.run()
        session.synchronise()
        runs += 1
    millijoules = meter.stop_mj()
    took = (clock() - started) / 1e9
    if millijoules <= 0:
        return None
    return Energy(millijoules, runs, took, meter.source, period_ms)


def _may_have_counter(root: Path, *, platform: str = sys.platform) -> bool:
    """Return whether this machine has the files from which zeus reads a CPU's energy."""
    if platform == "darwin" or os.environ.get("ZEUSD_SOCK_PATH"):
        return True
    rapl = (root / "sys/class/powercap/intel-rapl", root / "zeus_sys/class/powercap/intel-rapl")
    board = root / "proc/device-tree/model"
    return any(path.exists() for path in rapl) or (board.exists() and "Jetson" in board.read_text(errors="replace"))


OpenMeter = Callable[[str, int], EnergyMeter | None]
