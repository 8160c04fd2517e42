"""onnxruntime_perf_test: the text it prints (old and current wording), and its result file.

The result file has no header: `model,seconds,peak working set in bytes,CPU usage,run`, one line a
run, and with `-s` lines of statistics after an empty one. Memory is the peak of the whole process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frm_mlflow import schema, tool_output
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import files, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log

DEFAULTS: Mapping[str, Any] = {"runtime": "onnxruntime", "precision": "unknown", "compute_unit": "cpu"}
_RUN = re.compile(r"(?P<model>[^,]*),(?P<seconds>[\d.eE+-]+),(?P<peak>\d+),(?P<cpu>[\d.eE+-]*),(?P<run>\d+)")


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield a row for each log, and one for each model in a result file."""
    for log in logs.logs(path, ("*.log", "*.txt", "*.csv")):
        with files.expected_layout(log.name):
            lines = files.lines_of(log.text, log.name)
            if lines and _RUN.fullmatch(lines[0].strip()):
                yield from _result_file(log, lines, options)
            else:
                yield _printed(log, options)


def _result_file(log: Log, lines: list[str], options: SourceConfig) -> Iterator[Row]:
    runs: dict[str, list[float]] = {}
    peaks: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or re.match(r"(Min|Max|P\d+) Latency", line):
            continue
        run = _RUN.fullmatch(line.strip())
        if run is None:
            files.fail(log.name, "is not `model,seconds,bytes,cpu,run`; cut off?", row=number)
        runs.setdefault(run["model"], []).append(float(run["seconds"]) * 1000)
        peaks[run["model"]] = max(peaks.get(run["model"], 0), int(run["peak"]))
    for model, samples in runs.items():
        yield _row(log, {"model": logs.model_in(model)}, logs.summary(samples), peaks[model], "p50", options, row=model)


def _printed(log: Log, options: SourceConfig) -> Row | LeftOut:
    try:
        printed = tool_output.onnxruntime_perf_test(log.text)
    except tool_output.ToolFailedError:
        return LeftOut(log.name, "*", "onnxruntime_perf_test reports a failure")
    except tool_output.NotPrintedError as error:
        files.fail(log.name, str(error))
    model = tool_output.found(r"(\S+\.(?:onnx|ort))\b", log.text)
    return _row(log, {"model": logs.model_in(model)}, printed.metrics, 0, printed.statistic, options)


def _row(
    log: Log,
    stated: Mapping[str, Any],
    metrics: Mapping[str, float],
    peak_bytes: int,
    statistic: str,
    options: SourceConfig,
    *,
    row: str = "1",
) -> Row:
    memory = {schema.MEMORY_PEAK.key: peak_bytes / tool_output.MIB} if peak_bytes else {}
    facts = logs.facts_of(options, log.path, stated)
    return logs.row_of(
        log,
        facts,
        row=row,
        defaults=DEFAULTS,
        metrics=dict(metrics) | memory,
        latency_statistic=statistic,
        memory_definition="process_peak",
        provenance={"tool": "onnxruntime_perf_test"},
    )
