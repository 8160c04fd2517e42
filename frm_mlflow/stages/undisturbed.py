"""What a gate takes from a measurement: wall time, or what is left of it where other programs held the processor.

A benchmark reports wall time and flags contention. A gate must decide all the same, and rather not
than wrongly: where a measurement on a processor is flagged, its CPU time, which other programs
hardly touch, has a say.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from frm_mlflow import schema
from frm_mlflow.analysis.gate import Range
from frm_mlflow.config import MeasureConfig
from frm_mlflow.measure import BASELINE, MODEL, Measurement
from frm_mlflow.measure.estimate import ratio_over_launches

Metrics = Mapping[str, float]


def is_contended(measurement: Measurement) -> bool:
    """Whether wall time of either model is not explained by its CPU time."""
    return any("contention" in reason for reason in measurement.unstable)


def ratio(measurement: Measurement, config: MeasureConfig) -> Range:
    """Return the latency ratio: of wall time; under contention of CPU time.

    With several threads CPU time does not tell how well they share the work: then the range
    holds both intervals.
    """
    wall = wall_ratio(measurement.metrics)
    if not is_contended(measurement):
        return wall
    cpu = _cpu_ratio(measurement, config)
    if measurement.facts.get("threads") == 1:
        return cpu
    return Range(wall.value, min(wall.low, cpu.low), max(wall.high, cpu.high))


def latency_ms(measurement: Measurement) -> Range:
    """Return the median latency; under contention it may be as low as its CPU time, spread over the threads."""
    wall = wall_latency_ms(measurement.metrics)
    if not is_contended(measurement):
        return wall
    cpu = measurement.metrics[schema.LATENCY_CPU_P50.key] / measurement.facts.get("threads", 1)
    return Range(wall.value, min(wall.low, cpu), wall.high)


def reasons(measurement: Measurement) -> tuple[str, ...]:
    """Say why to read the numbers with care, and which clock decided."""
    if not measurement.unstable:
        return ()
    said = f"unstable: {', '.join(measurement.unstable)}"
    if is_contended(measurement):
        return (said, "other programs held the processor: CPU time, which they hardly touch, has a say")
    return (said,)


def wall_latency_ms(metrics: Metrics) -> Range:
    """Return the median latency with its interval."""
    keys = (schema.LATENCY_P50, schema.LATENCY_P50_LOW, schema.LATENCY_P50_HIGH)
    return Range(*(metrics[metric.key] for metric in keys))


def wall_ratio(metrics: Metrics) -> Range:
    """Return the ratio of latencies with its interval."""
    keys = (schema.RATIO_LATENCY, schema.RATIO_LATENCY_LOW, schema.RATIO_LATENCY_HIGH)
    return Range(*(metrics[metric.key] for metric in keys))


def _cpu_ratio(measurement: Measurement, config: MeasureConfig) -> Range:
    medians = measurement.samples.groupby(["role", "launch", "block"])["cpu_ns"].median()
    found = ratio_over_launches(
        *([m.to_numpy(np.float64) for _, m in medians[role].groupby(level="launch")] for role in (MODEL, BASELINE)),
        confidence=config.confidence,
        resamples=config.resamples,
        rng=np.random.default_rng(config.seed),
    )
    return Range(found.value, found.low, found.high)
