"""Energy by a hardware counter: a GPU's own by NVML, others by zeus. Without a counter there is no figure, never 0."""

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
"""How often a counter moves, at worst: NVML's total energy 20 to 100 ms, RAPL 1 ms, a SoC's sensors about 100 ms."""
LEAST_PERIODS = 20
"""A window of so many periods is off by at most 5 % at its ends."""

_WINDOW = "frm"
_MJ = 1000.0


class EnergyMeter(Protocol):
    """A counter that runs."""

    counter: str
    source: str
    """What reads the counter: nvml, or zeus:rapl and its like."""

    def start(self) -> None:
        """Begin a window."""

    def stop_mj(self) -> float:
        """End the window and return the millijoules that were used in it."""


@dataclass(frozen=True)
class Energy:
    """What a window of calls used, all told: the device's idle power is in it."""

    millijoules: float
    runs: int
    seconds: float
    meter: str
    period_ms: float


class NvmlMeter:
    """A GPU's total energy since its driver was loaded (Volta or newer)."""

    counter = source = NVML

    def __init__(self, index: int) -> None:
        self._index = index
        self._started_mj = 0.0

    def start(self) -> None:
        """Read the counter."""
        self._started_mj = self._read_mj()

    def stop_mj(self) -> float:
        """Read it again."""
        return self._read_mj() - self._started_mj

    def _read_mj(self) -> float:
        value = energy_mj(self._index)
        if value is None:
            raise OSError("NVML reported the GPU's energy before and does not any more")
        return value


class ZeusMeter:
    """One of zeus's counters: a GPU's by NVML, the processor packages' (with DRAM) by RAPL, a SoC's own."""

    def __init__(self, monitor: Any, counter: str) -> None:
        self.counter = counter
        self.source = f"zeus:{counter}"
        self._monitor = monitor

    def start(self) -> None:
        """Begin zeus's window; the caller has synchronised."""
        self._monitor.begin_window(_WINDOW, sync_execution=False)

    def stop_mj(self) -> float:
        """End zeus's window."""
        return float(self._monitor.end_window(_WINDOW, sync_execution=False).total_energy) * _MJ


def energy_meter(kind: str, index: int, *, root: Path = Path("/")) -> EnergyMeter | None:
    """Return the meter of this device, or None where there is none or zeus is not installed.

    A GPU's counter needs no zeus, which samples the power of GPUs without one. zeus takes seconds to import, so
    files that a counter needs are looked for first.
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
    """Call the session for at least `seconds` (and twenty of the counter's periods) in one window.

    None where the counter did not move: it is no meter for this device.
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
    """Whether this machine has what zeus reads a processor's energy from."""
    if platform == "darwin" or os.environ.get("ZEUSD_SOCK_PATH"):
        return True
    rapl = (root / "sys/class/powercap/intel-rapl", root / "zeus_sys/class/powercap/intel-rapl")
    board = root / "proc/device-tree/model"
    return any(path.exists() for path in rapl) or (board.exists() and "Jetson" in board.read_text(errors="replace"))


OpenMeter = Callable[[str, int], EnergyMeter | None]
