"""Computes the metrics to log to a run from blocks of timed runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frm_mlflow import schema
from frm_mlflow.analysis.interval import Interval
from frm_mlflow.config import MeasureConfig
from frm_mlflow.measure import estimate
from frm_mlflow.measure.participant import Participant
from frm_mlflow.measure.sustained import Sustained

_MS = 1e-6


def latency_metrics(participant: Participant, *, config: MeasureConfig, first: int | None = None) -> dict[str, float]:
    """Return the latency metrics of one participant, and throughput for a batch.

    `first` is the number of launches that decided how many to make (`estimate.launch_interval`).
    """
    wall_ms = participant.times("wall_ns") * _MS
    device_ms = participant.times("device_ns") * _MS
    launches = [wall_ns * _MS for wall_ns in participant.by_launch("wall_ns")]
    median = estimate.median_over_launches(launches, confidence=config.confidence, first=first)
    metrics = {
        schema.LATENCY_P50: median.value,
        schema.LATENCY_P50_LOW: median.low,
        schema.LATENCY_P50_HIGH: median.high,
        schema.LATENCY_MEAN: float(wall_ms.mean()),
        schema.LATENCY_CPU_P50: float(np.median(participant.times("cpu_ns"))) * _MS,
        schema.LATENCY_SAMPLES: float(wall_ms.size),
        schema.LATENCY_LAUNCHES: float(len(participant.launches)),
        schema.LATENCY_BLOCK_CV: estimate.block_cv(participant.block_medians()),
    }
    metrics |= {schema.TAIL_LATENCIES[q]: value for q, value in estimate.quantiles(wall_ms.ravel()).items()}
    if not np.isnan(device_ms).any():
        metrics[schema.LATENCY_DEVICE_P50] = float(np.median(device_ms))
    if config.batch_size > 1:
        metrics[schema.THROUGHPUT] = config.batch_size * 1e3 / float(wall_ms.mean())
    return {metric.key: value for metric, value in metrics.items() if not np.isnan(value)}


def memory_metrics(memory: Mapping[str, Any], *, kind: str) -> tuple[dict[str, float], str]:
    """Return the memory metrics and the definition of the peak; values that no meter reported are absent.

    On a CPU the peak is the process's resident memory minus what it used before the model was loaded. On a GPU the
    usage of the warm runtime is subtracted, by the best definition that works on the machine: the runtime's allocator,
    the process as reported by NVML, or the whole GPU while the other worker is idle (in containers).
    """
    if kind != "cuda":
        metrics = {schema.MEMORY_PEAK.key: memory["peak_mib"], schema.MEMORY_LOADED.key: memory["loaded_mib"]}
        return metrics, str(memory["definition"])
    metrics = {} if memory["device_mib"] is None else {schema.MEMORY_DEVICE.key: memory["device_mib"]}
    if memory["device_peak_mib"] is None or memory["device_peak_mib"] <= 0:
        return metrics, ""
    return metrics | {schema.MEMORY_PEAK.key: memory["device_peak_mib"]}, str(memory["device_definition"])


def energy_metrics(energy: Mapping[str, Any]) -> dict[str, float]:
    """Return the energy of one call; empty without a meter."""
    if energy["meter"] is None:
        return {}
    return {schema.ENERGY.key: energy["millijoules"] / energy["runs"]}


def sustained_metrics(sustained: Sustained | None) -> dict[str, float]:
    """Return the drop and the duration of a sustained run; empty if there was none."""
    if sustained is None:
        return {}
    return {schema.SUSTAINED_DROP.key: sustained.drop, schema.SUSTAINED_SECONDS.key: sustained.seconds}


def memory_peaks(launches: Sequence[Mapping[str, Any]], *, kind: str) -> list[float]:
    """Return each launch's peak memory in MiB; NaN without a meter."""
    return [float(memory_metrics(reply, kind=kind)[0].get(schema.MEMORY_PEAK.key, math.nan)) for reply in launches]


def memory_ratio(model: Sequence[float], baseline: Sequence[float], *, confidence: float) -> Interval:
    """Return the ratio of the launches' median peaks with its interval; NaN if a peak is missing or not above 0.

    A model relative to itself is 1. Peaks that repeat exactly have an interval of zero width: unlike times,
    counts of pages or of an allocator's bytes can repeat exactly.
    """
    peaks = np.array([model, baseline], dtype=np.float64)
    if not np.all(peaks > 0):
        return Interval(math.nan, math.nan, math.nan)
    value = float(np.divide(*np.median(peaks, axis=1)))
    ratios = peaks[0] / peaks[1]
    if np.array_equal(*peaks) or (len(ratios) > 1 and np.ptp(ratios) == 0):
        return Interval(value, value, value)
    return estimate.launch_interval(value, ratios, confidence=confidence)


def ratio_metrics(
    latency: Interval, memory: Interval, metrics: Mapping[str, float], baseline: Mapping[str, float]
) -> dict[str, float]:
    """Return the ratios to the baseline (paper equations 3 and 4) with their intervals; unknown ones are absent."""
    ratios = {
        schema.RATIO_LATENCY.key: latency.value,
        schema.RATIO_LATENCY_LOW.key: latency.low,
        schema.RATIO_LATENCY_HIGH.key: latency.high,
        schema.RATIO_MEMORY.key: memory.value,
        schema.RATIO_MEMORY_LOW.key: memory.low,
        schema.RATIO_MEMORY_HIGH.key: memory.high,
    }
    if schema.ENERGY.key in metrics and baseline.get(schema.ENERGY.key, 0.0) > 0:
        ratios[schema.RATIO_ENERGY.key] = metrics[schema.ENERGY.key] / baseline[schema.ENERGY.key]
    return {key: value for key, value in ratios.items() if not math.isnan(value)}
