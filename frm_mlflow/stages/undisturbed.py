"""What a gate takes from measurements: wall time, or what is left of it where other programs held the processor.

A benchmark reports wall time and flags contention. A gate must decide all the same, and rather not
than wrongly: where a measurement on a processor is contended, its CPU time, which other programs
hardly touch, has a say. A gate looks again where it cannot decide: its rounds are one sample of
launches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frm_mlflow import schema
from frm_mlflow.analysis.gate import Range
from frm_mlflow.config import MeasureConfig
from frm_mlflow.measure import BASELINE, MODEL, Measurement
from frm_mlflow.measure.estimate import Interval, median_over_launches, ratio_over_launches

Metrics = Mapping[str, float]
Rounds = Sequence[Measurement]
Floats = NDArray[np.float64]

LARGEST_WAIT = 1.05
"""Wall over CPU time of one thread's calls, above which it did not have its core for itself."""


def is_contended(rounds: Rounds) -> bool:
    """Whether wall time of either model is not explained by its CPU time."""
    return any("contention" in reason for one in rounds for reason in one.unstable) or _waited(rounds)


def ratio(rounds: Rounds, config: MeasureConfig, *, confidence: float) -> Range:
    """Return the latency ratio over the launches of all rounds: of wall time; under contention of CPU time.

    With several threads CPU time does not tell how well they share the work: then the range
    holds both intervals.
    """
    wall = _ratio(rounds, "wall_ns", config, confidence)
    if not is_contended(rounds):
        return wall
    cpu = _ratio(rounds, "cpu_ns", config, confidence)
    if _threads(rounds) == 1:
        return cpu
    return Range(wall.value, min(wall.low, cpu.low), max(wall.high, cpu.high))


def latency_ms(rounds: Rounds, config: MeasureConfig, *, confidence: float) -> Range:
    """Return the median latency; under contention it may be as low as its CPU time, spread over the threads."""
    launches = [launch / 1e6 for launch in _launches(rounds, MODEL, "wall_ns")]
    found = median_over_launches(launches, confidence=confidence, resamples=config.resamples, rng=_rng(config))
    if not is_contended(rounds):
        return _range(found)
    cpu_ns = np.concatenate([launch.ravel() for launch in _launches(rounds, MODEL, "cpu_ns")])
    return Range(found.value, min(found.low, float(np.median(cpu_ns)) / 1e6 / _threads(rounds)), found.high)


def reasons(rounds: Rounds) -> tuple[str, ...]:
    """Say why to read the numbers with care, and which clock decided."""
    unstable = list(dict.fromkeys(reason for one in rounds for reason in one.unstable))
    said = [f"unstable: {', '.join(unstable)}"] if unstable else []
    if is_contended(rounds):
        said += ["other programs held the processor: CPU time, which they hardly touch, has a say"]
    return tuple(said)


def wall_latency_ms(metrics: Metrics) -> Range:
    """Return the median latency with its interval."""
    keys = (schema.LATENCY_P50, schema.LATENCY_P50_LOW, schema.LATENCY_P50_HIGH)
    return Range(*(metrics[metric.key] for metric in keys))


def wall_ratio(metrics: Metrics) -> Range:
    """Return the ratio of latencies with its interval."""
    keys = (schema.RATIO_LATENCY, schema.RATIO_LATENCY_LOW, schema.RATIO_LATENCY_HIGH)
    return Range(*(metrics[metric.key] for metric in keys))


def _waited(rounds: Rounds) -> bool:
    """Whether calls of one thread on a processor took longer than their CPU time."""
    samples = pd.concat([one.samples for one in rounds])
    on_device = "device_ns" in samples and samples["device_ns"].notna().any()
    if _threads(rounds) != 1 or on_device or not (samples["cpu_ns"] > 0).all():
        return False
    return bool((samples["wall_ns"] / samples["cpu_ns"]).median() > LARGEST_WAIT)


def _ratio(rounds: Rounds, clock: str, config: MeasureConfig, confidence: float) -> Range:
    model, other = (
        [np.median(launch, axis=1) for launch in _launches(rounds, role, clock)] for role in (MODEL, BASELINE)
    )
    return _range(
        ratio_over_launches(model, other, confidence=confidence, resamples=config.resamples, rng=_rng(config))
    )


def _launches(rounds: Rounds, role: str, clock: str) -> list[Floats]:
    """Return the times of each launch of each round in order, shape (blocks, runs in a block)."""
    found = []
    for one in rounds:
        of_role = one.samples[one.samples["role"] == role]
        for _, launch in of_role.groupby("launch"):
            found.append(launch[clock].to_numpy(np.float64).reshape(launch["block"].nunique(), -1))
    return found


def _threads(rounds: Rounds) -> int:
    return int(rounds[0].facts.get("threads", 0))


def _rng(config: MeasureConfig) -> np.random.Generator:
    return np.random.default_rng(config.seed)


def _range(found: Interval) -> Range:
    return Range(found.value, found.low, found.high)
