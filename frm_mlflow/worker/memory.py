"""The worker's resident memory, from the kernel's high-water mark if there is one."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path
from typing import Protocol

RSS_PEAK = "rss_peak"
"""High-water mark of resident memory, reset after loading: the peak during inference only."""
RSS_PEAK_SINCE_START = "rss_peak_since_start"
"""High-water mark that could not be reset, so it includes the peak during loading."""

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_KIB = 1 / 1024
_MIB = 1 / 2**20


class MemoryMeter(Protocol):
    """Current and peak resident memory of this process in MiB."""

    definition: str

    def now_mib(self) -> float:
        """Return the current resident memory."""

    def peak_mib(self) -> float:
        """Return the highest resident memory since the last reset."""

    def reset_peak(self) -> None:
        """Reset the peak, if the system supports it."""


class ProcMeter:
    """Linux: VmRSS and VmHWM; writing 5 to `clear_refs` resets the mark."""

    def __init__(self, *, status: Path = _STATUS, clear_refs: Path = _CLEAR_REFS) -> None:
        self._status = status
        self._clear_refs = clear_refs
        self.definition = RSS_PEAK if self._try_reset() else RSS_PEAK_SINCE_START

    def now_mib(self) -> float:
        """Return VmRSS."""
        return self._field("VmRSS")

    def peak_mib(self) -> float:
        """Return VmHWM."""
        return self._field("VmHWM")

    def reset_peak(self) -> None:
        """Set VmHWM to VmRSS; without permission, the definition records that loading is included."""
        if self.definition == RSS_PEAK:
            self._clear_refs.write_text(_RESET_PEAK)

    def _try_reset(self) -> bool:
        try:
            self._clear_refs.write_text(_RESET_PEAK)
        except OSError:
            return False
        return True

    def _field(self, name: str) -> float:
        match = re.search(rf"^{name}:\s+(\d+) kB$", self._status.read_text(), re.MULTILINE)
        if match is None:
            raise OSError(f"{self._status} has no {name}")
        return int(match.group(1)) * _KIB


class PsutilMeter:
    """Other systems: psutil's resident memory and the system's peak, which cannot be reset."""

    definition = RSS_PEAK_SINCE_START

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()

    def now_mib(self) -> float:
        """Return the resident memory (the working set on Windows)."""
        return float(self._process.memory_info().rss) * _MIB

    def peak_mib(self) -> float:
        """Return the peak working set on Windows, else `ru_maxrss` (bytes on macOS, KiB on other systems)."""
        peak = getattr(self._process.memory_info(), "peak_wset", None)
        if peak is not None:
            return float(peak) * _MIB
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest * (_MIB if sys.platform == "darwin" else _KIB)

    def reset_peak(self) -> None:
        """Do nothing: the definition records that the peak was not reset."""


def memory_meter() -> MemoryMeter:
    """Return the best meter available on this system."""
    return ProcMeter() if _STATUS.exists() else PsutilMeter()


def settle_memory() -> None:
    """Return freed memory to the system, so that all resident memory is in use."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
