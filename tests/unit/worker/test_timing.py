from __future__ import annotations

import gc
import itertools

import pytest

from frm_mlflow.worker.sessions.base import Placement, Session, Target
from frm_mlflow.worker.timing import run_block, warm_up


class Clockwork:
    """A clock that calls advance, and a session whose calls take the given times in turn."""

    def __init__(self, calls_ns: list[int], *, cpu_share: float = 1.0) -> None:
        self.now = 0
        self.cpu = 0
        self.calls_ns = calls_ns
        self.made = 0
        self.cpu_share = cpu_share
        self.collector_was_on: list[bool] = []

    def clock(self) -> int:
        return self.now

    def cpu_clock(self) -> int:
        return self.cpu

    def call(self) -> None:
        took = self.calls_ns[min(self.made, len(self.calls_ns) - 1)]
        self.made += 1
        self.now += took
        self.cpu += round(took * self.cpu_share)
        self.collector_was_on.append(gc.isenabled())


class FakeSession(Session):
    def __init__(self, clockwork: Clockwork) -> None:
        super().__init__(Target())
        self._clockwork = clockwork

    def start(self): ...
    def placement(self):
        return Placement("cpu", "cpu", "clockwork")

    def load(self, directory, exported_model): ...
    def prepare(self, inputs): ...

    def run(self) -> None:
        self._clockwork.call()

    def outputs(self):
        return []

    def versions(self):
        return {}


class FakeEvents:
    def __init__(self) -> None:
        self.order: list[str] = []

    def start(self) -> None:
        self.order.append("start")

    def stop(self) -> None:
        self.order.append("stop")

    def elapsed_ns(self) -> int:
        return 7


def test_a_block_times_each_call_on_both_clocks_after_settling():
    work = Clockwork([1000, 10, 20, 30], cpu_share=2.0)
    block = run_block(FakeSession(work), runs=3, settle=1, clock=work.clock, cpu_clock=work.cpu_clock)
    assert block.wall_ns == [10, 20, 30]
    assert block.cpu_ns == [20, 40, 60]
    assert block.device_ns is None


def test_events_of_the_device_are_recorded_around_each_call():
    work = Clockwork([5])
    session = FakeSession(work)
    session.events = FakeEvents()
    block = run_block(session, runs=2, clock=work.clock, cpu_clock=work.cpu_clock)
    assert block.device_ns == [7, 7]
    assert session.events.order == ["start", "stop"] * 2


def test_the_garbage_collector_is_off_only_while_timing():
    work = Clockwork([1])
    run_block(FakeSession(work), runs=2, clock=work.clock, cpu_clock=work.cpu_clock)
    assert work.collector_was_on == [False, False]
    assert gc.isenabled()


def test_the_garbage_collector_is_on_again_after_a_failed_call():
    class Failing(FakeSession):
        def run(self) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_block(Failing(Clockwork([1])), runs=1)
    assert gc.isenabled()


def warm(work: Clockwork, **changed):
    settings = {"runs": 10, "seconds": 0.5, "agreement": 0.1, "max_seconds": 30.0} | changed
    return warm_up(FakeSession(work), clock=work.clock, **settings)


def test_warm_up_makes_the_requested_runs_even_if_they_are_slow():
    done = warm(Clockwork([10**9]))
    assert done.settled
    assert done.runs == 10


def test_warm_up_lasts_the_requested_time_even_if_calls_are_fast():
    done = warm(Clockwork([10**6]))
    assert done.settled
    assert 0.5 <= done.seconds < 0.6


def test_warm_up_waits_until_the_calls_stop_getting_faster():
    compiling = [round(10**9 * 0.9**k) for k in range(22)]
    done = warm(Clockwork(compiling + [100 * 10**6] * 100))
    assert done.settled
    assert done.first_ns == 10**9
    assert done.median_ns == 100 * 10**6


def test_warm_up_gives_up_at_its_limit_and_says_so():
    growing = [round(10**7 * 1.2**k) for k in range(60)]
    done = warm(Clockwork(growing), max_seconds=5.0)
    assert not done.settled
    assert 5.0 <= done.seconds < 7.0


def test_a_limit_below_one_call_still_makes_that_call():
    done = warm(Clockwork([10**9]), max_seconds=0.1)
    assert done.runs == 1
    assert done.median_ns == 10**9


def test_an_accelerator_is_read_between_calls_and_in_no_timed_one():
    work = Clockwork([30_000_000])
    readings: list[int] = []

    def observe():
        readings.append(work.now)
        work.now += 5_000_000  # a reading takes time
        return {"gpu_sm_clock_mhz": 1400.0}

    block = run_block(FakeSession(work), runs=10, clock=work.clock, cpu_clock=work.cpu_clock, observe=observe)
    assert block.wall_ns == [30_000_000] * 10
    assert block.readings == [{"gpu_sm_clock_mhz": 1400.0}] * len(readings)
    assert readings[0] == 30_000_000
    assert min(b - a for a, b in itertools.pairwise(readings)) >= 100_000_000
    assert run_block(FakeSession(work), runs=1, clock=work.clock, cpu_clock=work.cpu_clock).readings is None
