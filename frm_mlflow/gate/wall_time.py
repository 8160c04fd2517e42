"""What a gate uses from measurements: wall time, corrected if other programs occupied the CPU.

A benchmark reports wall time and flags contention. A gate must decide anyway, and no decision is better
than a wrong one. If a measurement on a CPU is contended, its CPU time, which other programs
hardly affect, is also used. A gate measures again if it cannot decide, and its rounds form one sample of
launches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frm_mlflow import schema
from frm_mlflow.analysis.interval import Interval, unbounded
from frm_mlflow.measure import BASELINE, MODEL, Measurement
from frm_mlflow.measure.estimate import median_over_launches, ratio_over_launches
from frm_mlflow.measure.summary import memory_ratio

Metrics = Mapping[str, float]
Rounds = Sequence[Measurement]
Floats = NDArray[np.float64]

LARGEST_WAIT = 1.05
"""Ratio of wall to CPU time of single-threaded calls above which the thread had to share its core."""


def is_contended(rounds: Rounds) -> bool:
    """Return whether the wall time of either model is not explained by its CPU time."""
    return any("contention" in remark for one in rounds for remark in one.remarks) or _waited(rounds)


def ratio(rounds: Rounds, *, confidence: float) -> Interval:
    """Return the latency ratio over the launches of all rounds, from wall time or, under contention, CPU time.

    With several threads, CPU time does not show how well they share the work. In that case the range
    contains both intervals.
    """
    wall = _ratio(rounds, "wall_ns", confidence)
    if not is_contended(rounds):
        return wall
    cpu = _ratio(rounds, "cpu_ns", confidence)
    if _threads(rounds) == 1:
        return cpu
    return Interval(wall.value, min(wall.low, cpu.low), max(wall.high, cpu.high))


def latency_ms(rounds: Rounds, *, confidence: float) -> Interval:
    """Return the median latency; under contention it may be as low as the CPU time divided by the threads."""
    launches = [launch / 1e6 for launch in _launches(rounds, MODEL, "wall_ns")]
    interval = _range(median_over_launches(launches, confidence=confidence))
    if not is_contended(rounds):
        return interval
    cpu_ns = np.concatenate([launch.ravel() for launch in _launches(rounds, MODEL, "cpu_ns")])
    return Interval(interval.value, min(interval.low, float(np.median(cpu_ns)) / 1e6 / _threads(rounds)), interval.high)


def peak_memory_ratio(rounds: Rounds, *, confidence: float) -> Interval:
    """Return the ratio of peak memory over the launches of all rounds."""
    model, other = (
        [peak for one in rounds for peak in one.facts[role]["memory_peak_mib"]] for role in (MODEL, BASELINE)
    )
    return _range(memory_ratio(model, other, confidence=confidence))


def reasons(rounds: Rounds) -> tuple[str, ...]:
    """Return the reasons for caution with the numbers, and which clock was used."""
    unstable = list(dict.fromkeys(reason for one in rounds for reason in one.unstable))
    remarks = [f"the ratio is uncertain: {', '.join(unstable)}"] if unstable else []
    if is_contended(rounds):
        remarks += ["other programs held the processor: CPU time, which they hardly touch, has a say"]
    return tuple(remarks)


def wall_latency_ms(metrics: Metrics) -> Interval:
    """Return the median latency with its interval."""
    return _logged(metrics, schema.LATENCY_P50, schema.LATENCY_P50_LOW, schema.LATENCY_P50_HIGH)


def wall_frm(metrics: Metrics) -> Interval | None:
    """Return FRM with its interval; None if the run has none."""
    return _logged(metrics, schema.FRM, schema.FRM_LOW, schema.FRM_HIGH) if schema.FRM.key in metrics else None


def has_intervals(metrics: Metrics) -> bool:
    """Return whether a run has an interval for its latency and, if it has an FRM, for that."""
    return schema.LATENCY_P50_LOW.key in metrics and (schema.FRM.key not in metrics or schema.FRM_LOW.key in metrics)


def _logged(metrics: Metrics, value: schema.Metric, low: schema.Metric, high: schema.Metric) -> Interval:
    """Return a value with its interval; missing for runs of one launch, and for FRM of runs before 0.2."""
    if low.key not in metrics or high.key not in metrics:
        return unbounded(metrics[value.key])
    return Interval(metrics[value.key], metrics[low.key], metrics[high.key])


def _waited(rounds: Rounds) -> bool:
    """Return whether single-threaded calls on a CPU took longer than their CPU time."""
    samples = pd.concat([one.samples for one in rounds])
    on_device = "device_ns" in samples and samples["device_ns"].notna().any()
    if _threads(rounds) != 1 or on_device or not (samples["cpu_ns"] > 0).all():
        return False
    return bool((samples["wall_ns"] / samples["cpu_ns"]).median() > LARGEST_WAIT)


def _ratio(rounds: Rounds, clock: str, confidence: float) -> Interval:
    model, other = (
        [np.median(launch, axis=1) for launch in _launches(rounds, role, clock)] for role in (MODEL, BASELINE)
    )
    return _range(ratio_over_launches(model, other, confidence=confidence))


def _launches(rounds: Rounds, role: str, clock: str) -> list[Floats]:
    """Return the times of each launch of each round in order, shape (blocks, runs in a block)."""
    remarks = []
    for one in rounds:
        of_role = one.samples[one.samples["role"] == role]
        for _, launch in of_role.groupby("launch"):
            remarks.append(launch[clock].to_numpy(np.float64).reshape(launch["block"].nunique(), -1))
    return remarks


def _threads(rounds: Rounds) -> int:
    return int(rounds[0].facts.get("threads", 0))


def _range(found: Interval) -> Interval:
    return found if found.is_known else unbounded(found.value)
