"""The worker's resident memory, by the kernel's own high-water mark where there is one."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path
from typing import Protocol

RSS_PEAK = "rss_peak"
"""High-water mark of resident memory, reset after loading: the peak during inference alone."""
RSS_PEAK_SINCE_START = "rss_peak_since_start"
"""High-water mark that could not be reset: the peak of loading counts too."""

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_KIB = 1 / 1024
_MIB = 1 / 2**20


class MemoryMeter(Protocol):
    """Resident memory of this process in MiB, now and at its peak."""

    definition: str

    def now_mib(self) -> float:
        """Resident memory now."""

    def peak_mib(self) -> float:
        """Highest resident memory since the last reset."""

    def reset_peak(self) -> None:
        """Forget the peak so far, where the system can."""


class ProcMeter:
    """Linux: VmRSS and VmHWM; writing 5 to `clear_refs` resets the mark."""

    def __init__(self, *, status: Path = _STATUS, clear_refs: Path = _CLEAR_REFS) -> None:
        self._status = status
        self._clear_refs = clear_refs
        self.definition = RSS_PEAK if self._try_reset() else RSS_PEAK_SINCE_START

    def now_mib(self) -> float:
        """VmRSS."""
        return self._field("VmRSS")

    def peak_mib(self) -> float:
        """VmHWM."""
        return self._field("VmHWM")

    def reset_peak(self) -> None:
        """Set VmHWM to VmRSS; without the right to do so the definition says that loading counts."""
        if self.definition == RSS_PEAK:
            self._clear_refs.write_text(_RESET_PEAK)

    def _try_reset(self) -> bool:
        try:
            self._clear_refs.write_text(_RESET_PEAK)
        except OSError:
            return False
        return True

    def _field(self, name: str) -> float:
        found = re.search(rf"^{name}:\s+(\d+) kB$", self._status.read_text(), re.MULTILINE)
        if found is None:
            raise OSError(f"{self._status} has no {name}")
        return int(found.group(1)) * _KIB


class PsutilMeter:
    """Elsewhere: psutil's resident memory and the system's own peak, which nothing can reset."""

    definition = RSS_PEAK_SINCE_START

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()

    def now_mib(self) -> float:
        """Resident memory (the working set on Windows)."""
        return float(self._process.memory_info().rss) * _MIB

    def peak_mib(self) -> float:
        """Peak working set on Windows, `ru_maxrss` elsewhere (bytes on macOS, KiB on other systems)."""
        peak = getattr(self._process.memory_info(), "peak_wset", None)
        if peak is not None:
            return float(peak) * _MIB
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest * (_MIB if sys.platform == "darwin" else _KIB)

    def reset_peak(self) -> None:
        """Nothing: the definition says so."""


def memory_meter() -> MemoryMeter:
    """Return the best meter that this system has."""
    return ProcMeter() if _STATUS.exists() else PsutilMeter()


def settle_memory() -> None:
    """Give freed memory back to the system, so that what is resident is in use."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
