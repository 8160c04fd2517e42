"""Warms up a session and times its calls."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from .sessions.base import Session

Clock = Callable[[], int]

WINDOW_RUNS = 3
"""Minimum number of runs in a warm-up window, so that its median is not a single outlier."""
WINDOWS_TO_AGREE = 3
READING_PERIOD_NS = 100_000_000
"""Period between readings; NVML's readings change every 20 to 100 ms."""


@dataclass(frozen=True)
class WarmUp:
    """How a session was warmed up; `settled` is false if the time limit ended it."""

    runs: int
    seconds: float
    settled: bool
    first_ns: int
    median_ns: int
    """Median call time of the last window, from which block lengths are planned."""


@dataclass(frozen=True)
class Block:
    """Timed calls in order: wall time, process CPU time (all threads) and the accelerator's events."""

    wall_ns: list[int]
    cpu_ns: list[int]
    device_ns: list[int] | None
    readings: list[dict[str, float]] | None = None
    """The accelerator's clocks, temperature and throttling between the calls; None without an accelerator."""


def warm_up(
    session: Session,
    *,
    runs: int,
    seconds: float,
    agreement: float,
    max_seconds: float,
    clock: Clock = time.perf_counter_ns,
) -> WarmUp:
    """Call the session at least `runs` times and for at least `seconds`, then until three windows agree.

    A window has at least three calls and lasts at least a fifth of `seconds`. Windows agree if their
    medians are within `agreement` of the lowest (TFLite's benchmark_model, perf_analyzer).
    """
    started = clock()
    window_ns = seconds * 1e9 / 5
    calls: list[int] = []
    medians: list[float] = []
    window: list[int] = []

    def elapsed() -> float:
        return (clock() - started) / 1e9

    while True:
        calls.append(_call(session, clock))
        window.append(calls[-1])
        if len(window) >= WINDOW_RUNS and sum(window) >= window_ns:
            medians.append(median(window))
            window = []
        enough = len(calls) >= runs and elapsed() >= seconds
        settled = enough and _agree(medians[-WINDOWS_TO_AGREE:], agreement)
        if settled or elapsed() >= max_seconds:
            last = medians[-1] if medians else median(calls)
            return WarmUp(len(calls), elapsed(), settled, calls[0], round(last))


def run_block(
    session: Session,
    *,
    runs: int,
    settle: int = 0,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock = time.process_time_ns,
    observe: Callable[[], dict[str, float]] | None = None,
) -> Block:
    """Time `runs` calls one by one, after `settle` calls that are not timed.

    The first calls after another process used the core have cold caches, and so do those after Python's
    garbage collector has run, so `settle` excludes them. `observe` reads the accelerator's state
    between two calls, so that the clocks are those under load and no timed call waits for a reading.
    """
    readings: list[dict[str, float]] = []
    next_reading = 0
    wall, cpu, device = [], [], []
    events = session.events
    with _collector_off():
        for _ in range(settle):
            _call(session, clock)
        for _ in range(runs):
            session.synchronise()
            cpu_start, wall_start = cpu_clock(), clock()
            if events is not None:
                events.start()
            session.run()
            if events is not None:
                events.stop()
            session.synchronise()
            wall_end, cpu_end = clock(), cpu_clock()
            wall.append(wall_end - wall_start)
            cpu.append(cpu_end - cpu_start)
            if events is not None:
                device.append(events.elapsed_ns())
            if observe is not None and wall_end >= next_reading:
                readings.append(observe())
                next_reading = clock() + READING_PERIOD_NS
    return Block(wall, cpu, device if events is not None else None, readings if observe is not None else None)


def _call(session: Session, clock: Clock) -> int:
    start = clock()
    session.run()
    session.synchronise()
    return clock() - start


def _agree(medians: list[float], agreement: float) -> bool:
    return len(medians) == WINDOWS_TO_AGREE and max(medians) <= min(medians) * (1 + agreement)


@contextmanager
def _collector_off() -> Iterator[None]:
    """Keep Python's garbage collector out of the timed calls."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
