from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_timing import Clockwork, FakeSession

from frm_mlflow.worker.energy import NVML, RAPL, SOC, ZeusMeter, energy_meter, measure_energy
from frm_mlflow.worker.service import Worker


class FakeMonitor:
    """zeus's monitor for a machine with the given number of GPUs, packages and SoCs."""

    gpus_here, cpus_here, soc_here = 0, 0, False
    joules = 2.0

    def __init__(self, gpu_indices, cpu_indices) -> None:
        self.gpus = [0] * self.gpus_here
        self.cpu_indices = list(range(self.cpus_here)) if cpu_indices is None else cpu_indices
        self.soc_is_present = self.soc_here
        self.windows: list[tuple[str, bool]] = []

    def begin_window(self, key: str, sync_execution: bool) -> None:
        self.windows.append((key, sync_execution))

    def end_window(self, key: str, sync_execution: bool):
        assert self.windows.pop() == (key, sync_execution)
        return SimpleNamespace(total_energy=self.joules)


@pytest.fixture
def zeus(monkeypatch: pytest.MonkeyPatch) -> type[FakeMonitor]:
    monitor = type("Monitor", (FakeMonitor,), {})
    for name, module in {
        "zeus": SimpleNamespace(),
        "zeus.monitor": SimpleNamespace(),
        "zeus.monitor.energy": SimpleNamespace(ZeusMonitor=monitor),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("ZEUSD_SOCK_PATH", raising=False)
    return monitor


@pytest.fixture
def with_rapl(tmp_path: Path) -> Path:
    (tmp_path / "sys/class/powercap/intel-rapl").mkdir(parents=True)
    return tmp_path


def counter(meter) -> str | None:
    return None if meter is None else meter.counter


def test_each_device_has_its_own_counter(zeus: type[FakeMonitor], with_rapl: Path):
    zeus.gpus_here, zeus.cpus_here = 1, 2
    assert counter(energy_meter("cuda", 0, root=with_rapl)) == NVML
    assert counter(energy_meter("cpu", 0, root=with_rapl)) == RAPL
    zeus.soc_here = True
    assert counter(energy_meter("cpu", 0, root=with_rapl)) == SOC


def test_without_a_counter_there_is_no_meter(zeus: type[FakeMonitor], with_rapl: Path, tmp_path: Path):
    assert energy_meter("cuda", 0) is None
    assert energy_meter("cpu", 0, root=with_rapl) is None, "RAPL that may not be read"
    zeus.cpus_here = 2
    assert energy_meter("cpu", 0, root=tmp_path / "elsewhere") is None


def test_without_zeus_there_is_no_meter(monkeypatch: pytest.MonkeyPatch, with_rapl: Path):
    monkeypatch.setitem(sys.modules, "zeus.monitor.energy", None)
    assert energy_meter("cpu", 0, root=with_rapl) is None


def test_a_window_covers_whole_calls_and_is_long_enough(zeus: type[FakeMonitor]):
    work = Clockwork([30 * 10**6])
    used = measure_energy(FakeSession(work), ZeusMeter(zeus([], None), NVML), seconds=0.5, clock=work.clock)
    assert used is not None
    assert used.millijoules == 2000.0
    assert used.seconds >= 2.0, "twenty of NVML's periods"
    assert used.runs == pytest.approx(used.seconds / 0.03)
    assert used.meter == "zeus:nvml"


def test_a_counter_that_does_not_move_is_no_figure(zeus: type[FakeMonitor]):
    zeus.joules = 0.0
    work = Clockwork([10**6])
    assert measure_energy(FakeSession(work), ZeusMeter(zeus([], None), RAPL), seconds=0.1, clock=work.clock) is None


def test_the_worker_says_that_there_is_no_meter(tmp_path: Path):
    from test_service import Doubling

    worker = Worker(open_session=lambda runtime, target: Doubling(target), open_meter=lambda kind, index: None)
    worker._session = Doubling(worker._target)
    reply, _ = worker.answer(json.dumps({"cmd": "energy", "seconds": 1.0}))
    assert reply == {"ok": True, "meter": None}
