"""Import TFLite's (LiteRT's) benchmark_model: the text it prints, and `--profiling_output_csv_file`.

Times are in microseconds. Only newer versions print `median=`; without it, the figure is the mean.
Memory is the growth of the process since the tool's start. The profiling CSV times each operator,
so its total exceeds an unprofiled run's, and the statistic is named `profiled_mean`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frm_mlflow import schema, tool_output
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import limits, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log
from frm_mlflow.tool_output import found

DEFAULTS: Mapping[str, Any] = {"runtime": "litert", "precision": "unknown", "compute_unit": "cpu"}


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield one row for each run in the logs and profiling CSVs at `path`."""
    return logs.each(path, ("*.log", "*.txt", "*.csv"), lambda log: _read_one(log, options))


def _read_one(log: Log, options: SourceConfig) -> Iterator[Row | LeftOut]:
    lines = log.lines()
    if "avg_ms, %" in log.text:
        yield _profile(log, "\n".join(lines), options)
        return
    for number, text in enumerate(tool_output.benchmark_model_runs(lines), start=1):
        yield logs.guarded(log.name, str(number), lambda text=text, row=str(number): _printed(log, text, row, options))  # type: ignore[misc]


def _printed(log: Log, text: str, row: str, options: SourceConfig) -> Row | LeftOut:
    try:
        printed = tool_output.benchmark_model(text)
    except tool_output.ToolFailedError:
        return LeftOut(log.name, "*" if row == "1" else row, "benchmark_model reports a failure")
    except tool_output.NotPrintedError as error:
        limits.fail(log.name, str(error), row=row)
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, _stated(text)),
        row=row,
        defaults=DEFAULTS,
        metrics=printed.metrics,
        latency_statistic=printed.statistic,
        memory_definition=printed.memory_definition,
        tags=_layers(text),
        provenance={"tool": "benchmark_model", "threads": found(r"(?i)num threads: \[(\d{1,6})\]", text)},
    )


def _profile(log: Log, text: str, options: SourceConfig) -> Row | LeftOut:
    """Read the regular runs' total from a profiling CSV; the initialisation's total comes before it."""
    regular = text.rpartition("for Regular Benchmark Runs")[2]
    timed = tool_output.statistics(found(r"Timings \(microseconds\): (count=.*)", regular))
    if "avg" not in timed:
        limits.fail(log.name, "has no `Timings (microseconds)` of regular runs; cut off?")
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
    graph = found(r"Graph: \[([^\]\n]{1,1000})\]", text) or found(r"Loaded model (.{1,1000})", text)
    command = next((line for line in text.split("\n") if "--graph" in line), "")
    return {
        "model": logs.model_in(graph or logs.option(command, "graph")),
        "compute_unit": max(counts, key=lambda unit: counts[unit]) if counts else "",
    }
