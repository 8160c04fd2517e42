"""What benchmark_model and onnxruntime_perf_test print of one model: read by importers, and when a phone is measured.

It knows the tools' words and our metrics, nothing of files or devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from frm_mlflow import schema

NEEDED_SAMPLES: Mapping[schema.Metric, tuple[float, int]] = {
    schema.LATENCY_P90: (90.0, 64),
    schema.LATENCY_P95: (95.0, 130),
    schema.LATENCY_P99: (99.0, 662),
}
"""Percentile and the samples it needs (MLPerf's early stopping)."""
DELEGATES: Mapping[str, str] = {
    "TfLiteXNNPackDelegate": "cpu",
    "TfLiteGpuDelegateV2": "gpu",
    "TfLiteHexagonDelegate": "npu",
    "TfLiteNnapiDelegate": "npu",
    "TfLiteQnnDelegate": "npu",
}
PERCENTILES: Mapping[str, schema.Metric] = {
    "P50": schema.LATENCY_P50,
    "P90": schema.LATENCY_P90,
    "P95": schema.LATENCY_P95,
    "P99": schema.LATENCY_P99,
}
MIB = 2**20

_FAILED_BENCHMARK_MODEL = r"(?m)(Benchmarking failed|Failed to (?:load|apply|initialize|allocate|build))"
_FAILED_PERF_TEST = r"(?m)^(.*\b)?(failed|ERROR)\b"


class ToolFailedError(Exception):
    """The tool itself says that it failed."""


class NotPrintedError(Exception):
    """The text does not hold the tool's figures: it was cut off, or is another tool's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """The figures of one run of a tool."""

    metrics: Mapping[str, float]
    """By `schema.Metric.key`; `schema.LATENCY_P50` holds the statistic that follows."""
    statistic: str
    """p50, or mean where the tool prints no median."""
    memory_definition: str
    layers: Mapping[str, int] = field(default_factory=dict)
    """Nodes of the graph by the compute unit that ran them, as far as the tool tells."""


def benchmark_model(text: str) -> Printed:
    """Return what TFLite's (LiteRT's) benchmark_model printed.

    Raises
    ------
    ToolFailedError, NotPrintedError
        Where it failed, or the figures are not there.
    """
    failed = re.search(_FAILED_BENCHMARK_MODEL, text)
    if failed:
        raise ToolFailedError(f"benchmark_model reports a failure: {_line_of(failed, text)}")
    mean_us = found(r"Inference \(avg\): ([\d.eE+-]+)", text)
    if not mean_us:
        raise NotPrintedError("has no `Inference timings in us: ... Inference (avg)`; is it benchmark_model's output?")
    timed = statistics(found(r"(count=\d+ first=.*)", text))
    metrics = times(timed) or {schema.LATENCY_P50.key: float(mean_us) / 1000}
    metrics[schema.LATENCY_MEAN.key] = float(mean_us) / 1000
    return Printed(
        metrics=metrics | _memory_growth(text),
        statistic="p50" if "median" in timed else "mean",
        memory_definition="rss_delta",
        layers=layers(text),
    )


def onnxruntime_perf_test(text: str) -> Printed:
    """Return what onnxruntime_perf_test printed (old and current wording).

    Raises
    ------
    ToolFailedError, NotPrintedError
        Where it failed, or the figures are not there.
    """
    failed = re.search(_FAILED_PERF_TEST, text) or re.search("Exception caught", text)
    if failed:
        raise ToolFailedError(f"onnxruntime_perf_test reports a failure: {_line_of(failed, text)}")
    mean = found(r"(?m)^Average (?:inference )?time cost(?: total)?:\s*([\d.eE+-]+) ms", text)
    if not mean:
        raise NotPrintedError("has no `Average inference time cost`; is it onnxruntime_perf_test's output to the end?")
    percentiles = {
        metric.key: float(seconds) * 1000
        for name, metric in PERCENTILES.items()
        if (seconds := found(rf"(?m)^{name} Latency(?: is|:)\s*([\d.eE+-]+)\s*s", text))
    }
    metrics = {schema.LATENCY_P50.key: float(mean), schema.LATENCY_MEAN.key: float(mean)} | percentiles
    count = found(r"(?m)^(?:Total inference requests|Total iterations|Runs):\s*(\d+)", text)
    if count:
        metrics[schema.LATENCY_SAMPLES.key] = float(count)
    peak = int(found(r"(?m)^Peak working set size:\s*(\d+)", text) or 0)
    return Printed(
        metrics=metrics | ({schema.MEMORY_PEAK.key: peak / MIB} if peak else {}),
        statistic="p50" if schema.LATENCY_P50.key in percentiles else "mean",
        memory_definition="process_peak",
    )


READERS: Mapping[str, Callable[[str], Printed]] = {
    "benchmark_model": benchmark_model,
    "onnxruntime_perf_test": onnxruntime_perf_test,
}


def statistics(line: str) -> dict[str, float]:
    """Return the figures in benchmark_model's `count=50 first=... avg=...` (microseconds)."""
    return {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+(?:[eE][+-]?\d+)?)", line)}


def times(timed: Mapping[str, float]) -> dict[str, float]:
    """Return the latency metrics of such statistics; none where they hold no mean."""
    if "avg" not in timed:
        return {}
    metrics = {
        schema.LATENCY_P50.key: timed.get("median", timed["avg"]) / 1000,
        schema.LATENCY_MEAN.key: timed["avg"] / 1000,
        schema.LATENCY_SAMPLES.key: timed["count"],
    }
    if "p95" in timed and timed["count"] >= NEEDED_SAMPLES[schema.LATENCY_P95][1]:
        metrics[schema.LATENCY_P95.key] = timed["p95"] / 1000
    return metrics


def layers(text: str) -> dict[str, int]:
    """Return how many of the nodes a delegate took; the CPU ran the others."""
    replaced = re.findall(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)", text)
    if not replaced:
        return {}
    taken, total, delegate = int(replaced[-1][0]), int(replaced[-1][1]), replaced[-1][2]
    unit = DELEGATES.get(delegate, "npu")
    by_unit = {unit: taken}
    by_unit["cpu"] = by_unit.get("cpu", 0) + total - taken
    return {unit: number for unit, number in by_unit.items() if number}


def found(pattern: str, text: str) -> str:
    """Return the first group of the last match of `pattern`, "" without one."""
    matches = re.findall(pattern, text)
    return str(matches[-1]).strip() if matches else ""


def _memory_growth(text: str) -> dict[str, float]:
    """Return the growth in MiB (the tool writes MB and divides by 1024 twice)."""
    overall = found(r"emory footprint (?:delta from the start of the tool )?\(MB\): init=\S+ overall=([\d.]+)", text)
    return {schema.MEMORY_PEAK.key: float(overall)} if overall and float(overall) > 0 else {}


def _line_of(match: re.Match[str], text: str) -> str:
    start = text.rfind("\n", 0, match.start()) + 1
    return text[start:].split("\n", 1)[0].strip()
