"""TFLite's (LiteRT's) benchmark_model: the text it prints, and `--profiling_output_csv_file`.

Times are microseconds; `median=` stands in newer versions only, otherwise the figure is the mean.
Memory is the growth of the process since the tool's start. The profiling CSV times operators, so
its total is larger than an unprofiled run and says so (`profiled_mean`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frm_mlflow import schema, tool_output
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import files, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log
from frm_mlflow.tool_output import found

DEFAULTS: Mapping[str, Any] = {"runtime": "litert", "precision": "unknown", "compute_unit": "cpu"}


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield a row for each log or profiling CSV at `path`."""
    for log in logs.logs(path, ("*.log", "*.txt", "*.csv")):
        with files.expected_layout(log.name):
            files.lines_of(log.text, log.name)
            yield _profile(log, options) if "avg_ms, %" in log.text else _printed(log, options)


def _printed(log: Log, options: SourceConfig) -> Row | LeftOut:
    try:
        printed = tool_output.benchmark_model(log.text)
    except tool_output.ToolFailedError:
        return LeftOut(log.name, "*", "benchmark_model reports a failure")
    except tool_output.NotPrintedError as error:
        files.fail(log.name, str(error))
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, _stated(log.text)),
        defaults=DEFAULTS,
        metrics=printed.metrics,
        latency_statistic=printed.statistic,
        memory_definition=printed.memory_definition,
        tags=_layers(log.text),
        provenance={"tool": "benchmark_model", "threads": found(r"(?i)num threads: \[(\d+)\]", log.text)},
    )


def _profile(log: Log, options: SourceConfig) -> Row | LeftOut:
    """Read the regular runs' total out of a profiling CSV; the initialisation's comes before it."""
    regular = log.text.rpartition("for Regular Benchmark Runs")[2]
    timed = tool_output.statistics(found(r"Timings \(microseconds\): (count=.*)", regular))
    if "avg" not in timed:
        files.fail(log.name, "has no `Timings (microseconds)` of regular runs; cut off?")
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, {"model": ""}),
        defaults=DEFAULTS,
        metrics=tool_output.times(timed),
        latency_statistic="profiled_mean",
        provenance={"tool": "benchmark_model", "latency": "sum of the operators, with profiling on"},
    )


def _layers(text: str) -> dict[str, str]:
    words = " ".join(f"{unit}={number}" for unit, number in tool_output.layers(text).items())
    return {schema.LAYERS.key: words} if words else {}


def _stated(text: str) -> dict[str, Any]:
    counts = tool_output.layers(text)
    graph = found(r"(?m)(?:Graph: \[|Loaded model |--graph=)([^\]\s]+)", text)
    return {
        "model": logs.model_in(graph),
        "compute_unit": max(counts, key=lambda unit: counts[unit]) if counts else "",
    }
