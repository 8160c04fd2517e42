from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from frm_mlflow.worker.memory import (
    RSS_PEAK,
    RSS_PEAK_SINCE_START,
    ProcMeter,
    PsutilMeter,
    memory_meter,
    settle_memory,
)

STATUS = "Name:\tpython\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t1\n"


def test_the_kernels_figures_are_read_in_mib(tmp_path: Path):
    status, clear = tmp_path / "status", tmp_path / "clear_refs"
    status.write_text(STATUS)
    clear.write_text("")
    meter = ProcMeter(status=status, clear_refs=clear)
    assert (meter.now_mib(), meter.peak_mib()) == (10.0, 20.0)
    assert meter.definition == RSS_PEAK
    meter.reset_peak()
    assert clear.read_text() == "5"


def test_a_mark_that_cannot_be_reset_is_called_another_quantity(tmp_path: Path):
    status = tmp_path / "status"
    status.write_text(STATUS)
    meter = ProcMeter(status=status, clear_refs=tmp_path / "missing" / "clear_refs")
    assert meter.definition == RSS_PEAK_SINCE_START
    meter.reset_peak()


def test_a_status_without_the_field_is_an_error(tmp_path: Path):
    status, clear = tmp_path / "status", tmp_path / "clear_refs"
    status.write_text("Name:\tpython\n")
    clear.write_text("")
    with pytest.raises(OSError, match="no VmHWM"):
        ProcMeter(status=status, clear_refs=clear).peak_mib()


def test_psutil_sees_the_same_resident_memory():
    meter, other = memory_meter(), PsutilMeter()
    assert other.now_mib() == pytest.approx(meter.now_mib(), rel=0.05)
    assert other.peak_mib() >= other.now_mib() * 0.9
    assert other.definition == RSS_PEAK_SINCE_START


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's high-water mark")
def test_the_peak_of_a_freed_buffer_is_seen_and_forgotten():
    meter = memory_meter()
    if meter.definition != RSS_PEAK:
        pytest.skip("this kernel does not let the mark be reset")
    settle_memory()
    meter.reset_peak()
    before = meter.peak_mib()
    # Fresh pages from the kernel: in a long test session, malloc would return pages that are already resident.
    with mmap.mmap(-1, 64 * 2**20) as buffer:
        for page in range(0, len(buffer), mmap.PAGESIZE):
            buffer[page] = 1
    assert meter.peak_mib() - before == pytest.approx(64, abs=4)
    meter.reset_peak()
    assert meter.peak_mib() - before < 8
