"""Warming up and timing calls of a session."""

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
"""Runs that a warm-up window holds at least, so that its median is not one outlier."""
WINDOWS_TO_AGREE = 3
READING_PERIOD_NS = 100_000_000
"""NVML's own readings change every 20 to 100 ms."""


@dataclass(frozen=True)
class WarmUp:
    """How a session was warmed up; `settled` is false where the time limit ended it."""

    runs: int
    seconds: float
    settled: bool
    first_ns: int
    median_ns: int
    """Median call of the last window: what block lengths are planned from."""


@dataclass(frozen=True)
class Block:
    """Timed calls in order: wall, process CPU time (all threads) and the accelerator's own events."""

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
    """Call the session at least `runs` times and `seconds` long, then until three windows agree.

    A window holds at least three calls and a fifth of `seconds`; windows agree where their
    medians lie within `agreement` of the lowest (TFLite's benchmark_model, perf_analyzer).
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

    The first calls after another process had the core find cold caches, and so do those after Python's
    collector has gone through its objects: `settle` leaves them out. `observe` reads the accelerator's state
    between two calls, so that the clocks are those under load and no timed call waits for the reading.
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
