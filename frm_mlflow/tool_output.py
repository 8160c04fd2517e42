"""Parsers for what benchmark_model and onnxruntime_perf_test print, for importers and measurements on a phone.

They handle the tools' wording and our metrics, but no files or devices.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from frm_mlflow import schema

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

_FAILED_BENCHMARK_MODEL = r"(?:Benchmarking failed|Failed to (?:load|apply|initialize|allocate|build))"
_FAILED_PERF_TEST = r"\b(?:failed|ERROR|Exception caught|error code)\b"
_AVERAGE_PERF_TEST = r"Average (?:inference )?time cost(?: total)?:\s{0,9}([\d.eE+-]{1,40}) ?ms"
_END_OF_PERF_TEST = re.compile(
    r"\s*(?:Average|Total (?:inference )?run time|Number of inferences|Avg CPU|Peak working|Runs|"
    r"M(?:in|ax) Latency|P\d+ Latency)"
)
_MEAN_BENCHMARK_MODEL = r"(?:Inference \(avg\)|Average inference timings in us: .{0,200}no stats): ([\d.eE+-]{1,40})"


class ToolFailedError(Exception):
    """The tool itself reports that it failed."""


class NotPrintedError(ValueError):
    """The text does not contain the tool's figures: it was cut off, or is another tool's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """The figures of one run of a tool."""

    metrics: Mapping[str, float]
    """By `schema.Metric.key`; `schema.LATENCY_P50` holds the statistic named by `statistic`."""
    statistic: str
    """p50, or mean if the tool prints no median."""
    memory_definition: str
    layers: Mapping[str, int] = field(default_factory=dict)
    """Number of graph nodes by the compute unit that ran them, as far as the tool reports it."""


def benchmark_model(text: str) -> Printed:
    """Return what TFLite's (LiteRT's) benchmark_model printed.

    A text with figures is accepted whatever else it contains: a delegate that could not be applied is only a warning.

    Raises
    ------
    ToolFailedError, NotPrintedError
        If the tool failed, or the figures are missing.
    """
    mean_us = found(_MEAN_BENCHMARK_MODEL, text)
    if not mean_us:
        failed = re.search(_FAILED_BENCHMARK_MODEL, text)
        if failed:
            raise ToolFailedError(f"benchmark_model reports a failure: {_line_of(failed, text)}")
        raise NotPrintedError("has no `Inference timings in us: ... Inference (avg)`; is it benchmark_model's output?")
    timed = statistics(found(r"\b(count=\d+ (?:first|curr)=.*)", text))
    metrics = times(timed) or {schema.LATENCY_P50.key: _figure(mean_us) / 1000}
    metrics[schema.LATENCY_MEAN.key] = _figure(mean_us) / 1000
    profiled = "profiled_" if re.search(r"(?i)enable op profiling: \[(?:1|true)\]", text) else ""
    return Printed(
        metrics=metrics | _memory_growth(text),
        statistic=profiled + ("p50" if "median" in timed else "mean"),
        memory_definition="rss_delta",
        layers=layers(text),
    )


def benchmark_model_runs(lines: Sequence[str]) -> list[str]:
    """Return the text of each run of benchmark_model in a log: a run starts with `STARTING!`."""
    starts = [n for n, line in enumerate(lines) if "STARTING!" in line]
    return _cut(lines, starts[1:] if len(starts) > 1 else _after(lines, re.compile(_MEAN_BENCHMARK_MODEL), _END_OF_BM))


_END_OF_BM = re.compile(r".{0,80}(?:Inference timings in us|emory footprint|Note: as the benchmark)")


def onnxruntime_perf_test(text: str) -> Printed:
    """Return what onnxruntime_perf_test printed (old and current wording).

    A text with figures is accepted whatever else it contains: a line with the word "failed" is then only a warning.

    Raises
    ------
    ToolFailedError, NotPrintedError
        If the tool failed, or the figures are missing.
    """
    mean = found(_AVERAGE_PERF_TEST, text)
    if not mean:
        failed = re.search(_FAILED_PERF_TEST, text)
        if failed:
            raise ToolFailedError(f"onnxruntime_perf_test reports a failure: {_line_of(failed, text)}")
        raise NotPrintedError("has no `Average inference time cost`; is it onnxruntime_perf_test's output to the end?")
    percentiles = {
        metric.key: _figure(seconds) * 1000
        for name, metric in PERCENTILES.items()
        if (seconds := found(rf"\b{name} Latency(?: is|:)\s{{0,9}}([\d.eE+-]{{1,40}})\s?s", text))
    }
    metrics = {schema.LATENCY_P50.key: _figure(mean), schema.LATENCY_MEAN.key: _figure(mean)} | percentiles
    count = found(r"(?:Total inference requests|Total iterations|\bRuns):\s{0,9}(\d{1,15})", text)
    if count:
        metrics[schema.LATENCY_SAMPLES.key] = float(count)
    peak = int(found(r"Peak working set size:\s{0,9}(\d{1,18})", text) or 0)
    return Printed(
        metrics=metrics | ({schema.MEMORY_PEAK.key: peak / MIB} if peak else {}),
        statistic="p50" if schema.LATENCY_P50.key in percentiles else "mean",
        memory_definition="process_peak",
    )


def perf_test_runs(lines: Sequence[str]) -> list[str]:
    """Return the text of each run of onnxruntime_perf_test in a log: a second average belongs to a second run."""
    return _cut(lines, _after(lines, re.compile(_AVERAGE_PERF_TEST), _END_OF_PERF_TEST))


def _after(lines: Sequence[str], main: re.Pattern[str], end: re.Pattern[str]) -> list[int]:
    """Return where each further run starts: after the last line of figures that follows the previous run's main one."""
    at = [n for n, line in enumerate(lines) if main.search(line)]
    return [
        max((n for n in range(one, other) if end.match(lines[n])), default=one) + 1
        for one, other in itertools.pairwise(at)
    ]


def _cut(lines: Sequence[str], starts: Sequence[int]) -> list[str]:
    return ["\n".join(lines[a:b]) for a, b in itertools.pairwise([0, *starts, len(lines)])]


READERS: Mapping[str, Callable[[str], Printed]] = {
    "benchmark_model": benchmark_model,
    "onnxruntime_perf_test": onnxruntime_perf_test,
}


def statistics(line: str) -> dict[str, float]:
    """Return the figures in benchmark_model's `count=50 first=... avg=...` (microseconds)."""
    pairs = re.findall(r"\b(\w{1,20})=([\d.]{1,40}(?:[eE][+-]?\d{1,4})?)", line)
    return {key: _figure(value) for key, value in pairs}


def times(timed: Mapping[str, float]) -> dict[str, float]:
    """Return the latency metrics of such statistics; empty if they contain no mean."""
    if "avg" not in timed or "count" not in timed:
        return {}
    metrics = {
        schema.LATENCY_P50.key: timed.get("median", timed["avg"]) / 1000,
        schema.LATENCY_MEAN.key: timed["avg"] / 1000,
        schema.LATENCY_SAMPLES.key: timed["count"],
    }
    if "p95" in timed and timed["count"] >= schema.min_samples(0.95):
        metrics[schema.LATENCY_P95.key] = timed["p95"] / 1000
    return metrics


def layers(text: str) -> dict[str, int]:
    """Return how many nodes a delegate took; the CPU ran the others."""
    replaced = re.findall(r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \((\w{1,80})\)", text)
    if not replaced:
        return {}
    taken, total, delegate = int(replaced[-1][0]), int(replaced[-1][1]), replaced[-1][2]
    unit = DELEGATES.get(delegate, "npu")
    by_unit = {unit: taken}
    by_unit["cpu"] = by_unit.get("cpu", 0) + total - taken
    return {unit: number for unit, number in by_unit.items() if number}


def found(pattern: str, text: str) -> str:
    """Return the first group of the last match of `pattern`, or "" without a match."""
    matches = re.findall(pattern, text)
    return str(matches[-1]).strip() if matches else ""


def _figure(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise NotPrintedError(f"has '{text[:40]}' for a figure") from None


def _memory_growth(text: str) -> dict[str, float]:
    """Return the growth in MiB (the tool prints MB but divides by 1024 twice)."""
    overall = found(
        r"emory footprint (?:delta from the start of the tool )?\(MB\): init=\S{1,40} overall=([\d.]{1,40})", text
    )
    return {schema.MEMORY_PEAK.key: _figure(overall)} if overall and _figure(overall) > 0 else {}


def _line_of(match: re.Match[str], text: str) -> str:
    start = text.rfind("\n", 0, match.start()) + 1
    return text[start : start + 300].split("\n", 1)[0].strip()
