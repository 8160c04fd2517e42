"""MLPerf LoadGen's `mlperf_log_summary.txt`.

A single stream's latency is one query's; a multi-stream query holds several samples, so its row
has them as batch size. In the server and offline scenarios latency includes waiting in the queue:
only their throughput is taken. LoadGen's percentiles and its early-stopping estimate keep their
meaning: the official one stands in the provenance. Invalid and accuracy runs are left out.
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
from frm_mlflow.tool_output import found

NANOSECONDS = 1e-6
DETAIL = "mlperf_log_detail.txt"
LATENCIES: Mapping[str, schema.Metric] = {
    "50.00 percentile latency (ns)": schema.LATENCY_P50,
    "90.00 percentile latency (ns)": schema.LATENCY_P90,
    "95.00 percentile latency (ns)": schema.LATENCY_P95,
    "99.00 percentile latency (ns)": schema.LATENCY_P99,
    "Mean latency (ns)": schema.LATENCY_MEAN,
}
THROUGHPUTS = ("Samples per second", "Completed samples per second")
UNQUEUED = ("SingleStream", "MultiStream")


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield a row for each valid performance run at `path`."""
    for log in logs.logs(path, ("mlperf_log_summary.txt",)):
        with files.expected_layout(log.name):
            yield _row(log, options)


def _row(log: Log, options: SourceConfig) -> Row | LeftOut:
    said = _fields(log)
    if "Scenario" not in said:
        if "encountered during test" in log.text:
            return LeftOut(log.name, "*", "no performance results: an accuracy run")
        files.fail(log.name, "has no `Scenario`; is it LoadGen's mlperf_log_summary.txt?")
    if said.get("Result is") != "VALID":
        return LeftOut(log.name, "*", f"LoadGen says {said.get('Result is', 'nothing of its validity')}")
    scenario, mode = said["Scenario"], said.get("Mode", "")
    if mode != "PerformanceOnly":
        return LeftOut(log.name, "*", f"mode {mode}, not a performance run")
    metrics, batch = _metrics(said, scenario, log.name)
    facts = {"batch_size": batch} | logs.facts_of(options, log.path, {"runtime_version": _version(log)})
    return logs.row_of(
        log,
        facts,
        defaults={"runtime": "unknown", "precision": "unknown"},
        metrics=metrics,
        latency_statistic="p50" if scenario in UNQUEUED else "none",
        provenance={
            "tool": "LoadGen",
            "scenario": scenario,
            "sut": said.get("SUT name", ""),
            **_official(said, log.text),
        },
    )


def _fields(log: Log) -> dict[str, str]:
    pairs = (line.partition(":") for line in files.lines_of(log.text, log.name) if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _metrics(said: Mapping[str, str], scenario: str, file: str) -> tuple[dict[str, float], int]:
    if scenario not in UNQUEUED:
        value = next((said[name] for name in THROUGHPUTS if name in said), None)
        throughput = files.number(value, file, scenario, name="samples per second")
        if throughput is None:
            files.fail(file, "has no samples per second", row=scenario)
        return {schema.THROUGHPUT.key: throughput}, 1
    found = {metric.key: files.number(said.get(name), file, name, name=name) for name, metric in LATENCIES.items()}
    metrics = {key: value * NANOSECONDS for key, value in found.items() if value is not None}
    if schema.LATENCY_P50.key not in metrics:
        files.fail(file, "has no 50.00 percentile latency; cut off?")
    return metrics, files.whole(said.get("samples_per_query"), file, scenario, name="samples_per_query") or 1


def _official(said: Mapping[str, str], text: str) -> dict[str, Any]:
    """Return the scenario's own percentile and LoadGen's early-stopping estimate of it, in ms."""
    official = {
        name: value for name, value in said.items() if re.fullmatch(r"[\d.]+th percentile latency \(ns\)", name)
    }
    estimate = found(r"Early stopping [\d.]+th percentile estimate: (\d+)", text)
    facts: dict[str, Any] = {name.replace("(ns)", "ms"): float(value) * NANOSECONDS for name, value in official.items()}
    return facts | ({"early_stopping_estimate_ms": float(estimate) * NANOSECONDS} if estimate else {})


def _version(log: Log) -> str:
    """Return LoadGen's version out of the detail log beside the summary, where there is one."""
    detail = log.path.with_name(DETAIL)
    if not detail.is_file():
        return ""
    version = found(r'"key": "loadgen_version", "value": "([^" ]+)', files.read_text(detail))
    return f"loadgen {version}" if version else ""
