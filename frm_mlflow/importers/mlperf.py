"""Import MLPerf LoadGen's `mlperf_log_summary.txt`.

Single-stream latency is that of one query. A multi-stream query holds several samples, and their
number is the row's batch size. In the server and offline scenarios, latency includes queueing, so
only throughput is imported. LoadGen's percentiles and its early-stopping estimate keep their
meaning; the official one is in the provenance. Invalid, accuracy and audit runs are left out.
In MLCommons' own folder layout system and benchmark come from the folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import files, limits, logs
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
THROUGHPUTS = ("Samples per second", "Completed samples per second", "Scheduled samples per second")
UNQUEUED = ("SingleStream", "MultiStream")


_SCENARIOS = {"singlestream": "SingleStream", "multistream": "MultiStream", "server": "Server", "offline": "Offline"}
_SCENARIOS |= {"multistreamfree": "MultiStreamFree", "interactive": "Interactive"}
"""Scenario names in lower case and without spaces: v0.5 and v0.7 write `Single Stream`."""
_AUDITS = ("compliance", "audit")
"""Folders of MLCommons' layout that contain audits of a result, not results."""
_NOT_A_NAME = re.compile(r"(?i)(run_?\d+|performance|accuracy|single-?stream|multi-?stream|server|offline|interactive)")


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield one row for each valid performance run at `path`."""
    return logs.each(path, ("mlperf_log_summary.txt",), lambda log: [_row(log, options)])


@dataclass(frozen=True, slots=True)
class Place:
    """Facts from MLCommons' folder layout: `.../results/SYSTEM/BENCHMARK/SCENARIO/performance/run_1/`."""

    is_audit: bool
    system: str
    benchmark: str
    benchmark_folder: Path
    """The nearest parent folder that is not named after a run, a mode or a scenario."""


def place_of(log: Log) -> Place:
    """Return the facts in the folder names above a summary; system and benchmark are "" outside MLCommons' layout."""
    folders = log.path.absolute().parent
    named = next((p for p in (folders, *folders.parents) if not _NOT_A_NAME.fullmatch(p.name)), folders)
    parts = folders.parts
    at = next((n for n in range(len(parts) - 1, 0, -1) if parts[n] in ("results", *_AUDITS)), None)
    below = parts[at + 1 :] if at is not None else ()
    known = len(below) >= 3 and any(_NOT_A_NAME.fullmatch(part) for part in below[2:])
    inside = PurePosixPath(log.name).parts
    is_audit = any(part in _AUDITS or re.fullmatch(r"TEST\d+(-[A-Z])?", part) for part in inside) or (
        known and parts[at or 0] in _AUDITS
    )
    return Place(is_audit, below[0] if known else "", below[1] if known else "", named)


def _row(log: Log, options: SourceConfig) -> Row | LeftOut:
    place = place_of(log)
    if place.is_audit:
        return LeftOut(log.name, "*", "an audit of a result (compliance), not a result")
    stated = _fields(log)
    if "Scenario" not in stated:
        if "encountered during test" in log.text:
            return LeftOut(log.name, "*", "no performance results: an accuracy run")
        limits.fail(log.name, "has no `Scenario`; is it LoadGen's mlperf_log_summary.txt?")
    if stated.get("Result is") != "VALID":
        return LeftOut(log.name, "*", f"LoadGen's result is {stated.get('Result is', 'not stated')[:60]}")
    scenario, mode = _scenario(stated["Scenario"]), stated.get("Mode", "")
    if mode.replace(" ", "") not in ("PerformanceOnly", "Performance"):
        return LeftOut(log.name, "*", f"mode {mode[:60]}, not a performance run")
    metrics, batch = _metrics(stated, scenario, log.name)
    from_place = {"model": place.benchmark, "device": place.system, "runtime_version": _version(log)}
    facts = logs.facts_of(options, log.path, from_place, folder=place.benchmark_folder)
    return logs.row_of(
        log,
        {"batch_size": batch} | facts,
        defaults={"runtime": "unknown", "precision": "unknown"},
        metrics=metrics,
        latency_statistic="p50" if scenario in UNQUEUED else "none",
        provenance={
            "tool": "LoadGen",
            "scenario": scenario,
            "sut": stated.get("SUT name", "")[:200],
            **_official(stated, log),
        },
    )


def _scenario(text: str) -> str:
    return _SCENARIOS.get(re.sub(r"[ _-]", "", text.lower()), text[:60])


def _fields(log: Log) -> dict[str, str]:
    """Return the summary's lines by name; v0.5 has latencies per query and per sample, and one query is one call."""
    fields: dict[str, str] = {}
    per_sample = False
    for line in log.lines():
        per_sample = (per_sample and not line.startswith("===")) or line.startswith("Per-sample latency")
        name, colon, value = line.partition(":")
        if colon and not per_sample:
            fields[name.strip()] = value.strip()
    return fields


def _metrics(stated: Mapping[str, str], scenario: str, file: str) -> tuple[dict[str, float], int]:
    if scenario not in UNQUEUED:
        value = next((stated[name] for name in THROUGHPUTS if name in stated), None)
        throughput = files.number(value, file, scenario, name="samples per second")
        if throughput is None:
            limits.fail(file, "has no samples per second", row=scenario)
        return {schema.THROUGHPUT.key: throughput}, 1
    found = {metric.key: files.number(stated.get(name), file, name, name=name) for name, metric in LATENCIES.items()}
    metrics = {key: value * NANOSECONDS for key, value in found.items() if value is not None}
    if schema.LATENCY_P50.key not in metrics:
        limits.fail(file, "has no 50.00 percentile latency; cut off?")
    return metrics, files.whole(stated.get("samples_per_query"), file, scenario, name="samples_per_query") or 1


def _official(stated: Mapping[str, str], log: Log) -> dict[str, Any]:
    """Return the scenario's own percentile and LoadGen's early-stopping estimate of it, in ms."""
    official = {
        name: files.number(value, log.name, name, name=name)
        for name, value in stated.items()
        if re.fullmatch(r"[\d.]{1,10}th percentile latency \(ns\)", name)
    }
    facts: dict[str, Any] = {name.replace("(ns)", "ms"): ns * NANOSECONDS for name, ns in official.items() if ns}
    estimate = found(r"Early stopping [\d.]{1,10}th percentile estimate: (\d{1,18})", log.text)
    return facts | ({"early_stopping_estimate_ms": float(estimate) * NANOSECONDS} if estimate else {})


def _version(log: Log) -> str:
    """Return LoadGen's version from the detail log next to the summary, "" if there is none."""
    version = found(
        r'"key": "loadgen_version", "value": "([^" ]{1,40})', files.head(log.path.with_name(DETAIL), size=2**18)
    )
    return f"loadgen {version}" if version else ""
