"""TFLite's (LiteRT's) benchmark_model: the text it prints, and `--profiling_output_csv_file`.

Times are microseconds; `median=` stands in newer versions only, otherwise the figure is the mean.
Memory is the growth of the process since the tool's start. The profiling CSV times operators, so
its total is larger than an unprofiled run and says so (`profiled_mean`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import files, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log

DEFAULTS: Mapping[str, Any] = {"runtime": "litert", "precision": "unknown", "compute_unit": "cpu"}
DELEGATES: Mapping[str, str] = {
    "TfLiteXNNPackDelegate": "cpu",
    "TfLiteGpuDelegateV2": "gpu",
    "TfLiteHexagonDelegate": "npu",
    "TfLiteNnapiDelegate": "npu",
    "TfLiteQnnDelegate": "npu",
}


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield a row for each log or profiling CSV at `path`."""
    for log in logs.logs(path, ("*.log", "*.txt", "*.csv")):
        with files.expected_layout(log.name):
            files.lines_of(log.text, log.name)
            yield _profile(log, options) if "avg_ms, %" in log.text else _printed(log, options)


def _printed(log: Log, options: SourceConfig) -> Row | LeftOut:
    if re.search(r"(?m)(Benchmarking failed|Failed to (?:load|apply|initialize|allocate|build))", log.text):
        return LeftOut(log.name, "*", "benchmark_model reports a failure")
    mean_us = logs.found(r"Inference \(avg\): ([\d.eE+-]+)", log.text)
    if not mean_us:
        files.fail(log.name, "has no `Inference timings in us: ... Inference (avg)`; is it benchmark_model's output?")
    timed = _statistics(logs.found(r"(count=\d+ first=.*)", log.text))
    metrics = _metrics(timed) or {schema.LATENCY_P50.key: float(mean_us) / 1000}
    metrics[schema.LATENCY_MEAN.key] = float(mean_us) / 1000
    metrics |= _memory(log.text)
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, _stated(log.text)),
        defaults=DEFAULTS,
        metrics=metrics,
        latency_statistic="p50" if "median" in timed else "mean",
        memory_definition="rss_delta",
        tags=_layers(log.text),
        provenance={"tool": "benchmark_model", "threads": logs.found(r"(?i)num threads: \[(\d+)\]", log.text)},
    )


def _profile(log: Log, options: SourceConfig) -> Row | LeftOut:
    """Read the regular runs' total out of a profiling CSV; the initialisation's comes before it."""
    regular = log.text.rpartition("for Regular Benchmark Runs")[2]
    timed = _statistics(logs.found(r"Timings \(microseconds\): (count=.*)", regular))
    if "avg" not in timed:
        files.fail(log.name, "has no `Timings (microseconds)` of regular runs; cut off?")
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, {"model": ""}),
        defaults=DEFAULTS,
        metrics=_metrics(timed),
        latency_statistic="profiled_mean",
        provenance={"tool": "benchmark_model", "latency": "sum of the operators, with profiling on"},
    )


def _statistics(line: str) -> dict[str, float]:
    return {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+(?:[eE][+-]?\d+)?)", line)}


def _metrics(timed: Mapping[str, float]) -> dict[str, float]:
    """Return the latency metrics in `count=50 ... avg=... median=... p95=...` (microseconds)."""
    if "avg" not in timed:
        return {}
    metrics = {
        schema.LATENCY_P50.key: timed.get("median", timed["avg"]) / 1000,
        schema.LATENCY_MEAN.key: timed["avg"] / 1000,
        schema.LATENCY_SAMPLES.key: timed["count"],
    }
    if "p95" in timed and timed["count"] >= logs.NEEDED_SAMPLES[schema.LATENCY_P95][1]:
        metrics[schema.LATENCY_P95.key] = timed["p95"] / 1000
    return metrics


def _memory(text: str) -> dict[str, float]:
    """Return the growth in MiB (the tool writes MB and divides by 1024 twice)."""
    overall = logs.found(
        r"emory footprint (?:delta from the start of the tool )?\(MB\): init=\S+ overall=([\d.]+)", text
    )
    return {schema.MEMORY_PEAK.key: float(overall)} if overall and float(overall) > 0 else {}


def _layers(text: str) -> dict[str, str]:
    """Return how many of the nodes a delegate took; the CPU ran the others."""
    replaced = re.findall(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)", text)
    if not replaced:
        return {}
    taken, total, delegate = int(replaced[-1][0]), int(replaced[-1][1]), replaced[-1][2]
    unit = DELEGATES.get(delegate, "npu")
    layers = {unit: taken}
    layers["cpu"] = layers.get("cpu", 0) + total - taken
    return {schema.LAYERS.key: " ".join(f"{unit}={number}" for unit, number in layers.items() if number)}


def _stated(text: str) -> dict[str, Any]:
    layers = _layers(text).get(schema.LAYERS.key, "")
    counts = {unit: int(number) for unit, number in (part.split("=") for part in layers.split())}
    graph = logs.found(r"(?m)(?:Graph: \[|Loaded model |--graph=)([^\]\s]+)", text)
    return {
        "model": logs.model_in(graph),
        "compute_unit": max(counts, key=lambda unit: counts[unit]) if counts else "",
    }
