"""NVIDIA trtexec: the text it prints, `--exportTimes` and `--exportProfile` JSON.

The figure is the host's latency: copy in, compute and copy out. The GPU's compute time alone is
`latency/device_p50_ms`. A profile is made with every layer timed on its own: its sum is not a
latency of the network as it runs, and says so (`layers_sum`).
"""

from __future__ import annotations

import json
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

DEFAULTS: Mapping[str, Any] = {"runtime": "tensorrt", "precision": "unknown", "compute_unit": "gpu", "tier": "gpu"}
STATISTICS: Mapping[str, schema.Metric] = {
    "median": schema.LATENCY_P50,
    "mean": schema.LATENCY_MEAN,
    "percentile(90%)": schema.LATENCY_P90,
    "percentile(95%)": schema.LATENCY_P95,
    "percentile(99%)": schema.LATENCY_P99,
}
PRECISIONS = ("INT8", "FP8", "FP4", "BF16", "FP16", "FP32")
"""What `Precision: FP32+FP16` may name, the lowest first: TensorRT picks the fastest of those allowed."""


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield a row for each log, times or profile file at `path`."""
    for log in logs.logs(path, ("*.log", "*.txt", "*.json")):
        with files.expected_layout(log.name):
            yield (
                _from_json(log, options)
                if log.text.lstrip().startswith(("[", "{")) and not _is_log(log)
                else (_from_text(log, options))
            )


def _is_log(log: Log) -> bool:
    return bool(re.match(r"\s*(&&&&|\[\d\d/\d\d/\d{4}-)", log.text))


def _from_text(log: Log, options: SourceConfig) -> Row | LeftOut:
    text = "\n".join(re.sub(r"^\[[\d/:-]+\] \[\w\] ", "", line) for line in files.lines_of(log.text, log.name))
    if "&&&& FAILED" in text:
        return LeftOut(log.name, "*", "trtexec says FAILED")
    metrics = _summary_line(found(r"(?m)^Latency: (.*)$", text), log.name)
    if schema.LATENCY_P50.key not in metrics:
        files.fail(log.name, "has no `Latency: ... median = ... ms`; is it trtexec's output to the end (8.2 or later)?")
    compute = _summary_line(found(r"(?m)^GPU Compute Time: (.*)$", text), log.name)
    if schema.LATENCY_P50.key in compute:
        metrics[schema.LATENCY_DEVICE_P50.key] = compute[schema.LATENCY_P50.key]
    facts = logs.facts_of(options, log.path, _stated(text))
    batch = int(facts.get("batch_size", 1))
    throughput = files.number(found(r"(?m)^Throughput: ([\d.eE+-]+) qps", text), log.name, 1, name="throughput")
    if throughput:
        metrics[schema.THROUGHPUT.key] = throughput * batch
    return logs.row_of(
        log,
        facts,
        defaults=DEFAULTS,
        metrics=metrics,
        latency_statistic="p50",
        provenance={"tool": "trtexec", "latency": "host: copies and compute", "command": _command(text)},
    )


def _summary_line(line: str, file: str) -> dict[str, float]:
    """Return the metrics in `min = 1.0 ms, ..., percentile(99%) = 2.0 ms`."""
    found = dict(re.findall(r"([a-z]+(?:\(\d+%\))?) = ([^\s,]+) ms", line))
    values = {
        metric.key: files.number(found.get(name), file, "Latency", name=name) for name, metric in STATISTICS.items()
    }
    return {key: value for key, value in values.items() if value is not None}


def _stated(text: str) -> dict[str, Any]:
    model = found(r"(?m)^Model: (\S+)$", text) or found(r"--(?:onnx|loadEngine)=(\S+)", text)
    shape = [int(side) for side in re.findall(r"\d+", found(r"(?m)^Input inference shapes? ?: [^=\n]*=([\dx]+)", text))]
    allowed = found(r"(?m)^Precision: (\S+)", text).upper()
    version = found(r"(?m)^TensorRT version: (\S+)", text)
    return {
        "model": logs.model_in(model),
        "device": found(r"(?m)^Selected Device: (.+)$", text),
        "chip": found(r"(?m)^Selected Device: (.+)$", text),
        "runtime_version": f"tensorrt {version}" if version else "",
        "precision": next((name.lower() for name in PRECISIONS if name in allowed), ""),
        "batch_size": shape[0] if len(shape) == 4 else None,
        "input_size": shape[-1] if len(shape) == 4 and shape[-1] == shape[-2] else None,
    }


def _command(text: str) -> str:
    return found(r"(?m)^&&&& RUNNING [^#\n]*# (.+)$", text)[:500]


def _from_json(log: Log, options: SourceConfig) -> Row | LeftOut:
    document = files.load_json(log.text, log.name)
    if not isinstance(document, list) or not document:
        files.fail(log.name, "is neither trtexec's --exportTimes nor --exportProfile: no list")
    facts = logs.facts_of(options, log.path, {})
    if "latencyMs" in document[0]:
        latency = _column(document, "latencyMs", log.name)
        metrics = logs.summary(latency)
        metrics[schema.LATENCY_DEVICE_P50.key] = logs.summary(_column(document, "computeMs", log.name))[
            schema.LATENCY_P50.key
        ]
        statistic, meaning = "p50", "host: copies and compute"
    elif "count" in document[0]:
        metrics = {schema.LATENCY_P50.key: sum(_column(document[1:], "averageMs", log.name))}
        metrics[schema.LATENCY_SAMPLES.key] = float(document[0]["count"])
        statistic, meaning = "layers_sum", "sum of the layers' mean times, each timed on its own"
    else:
        files.fail(log.name, f"is neither --exportTimes nor --exportProfile: {json.dumps(document[0])[:80]}")
    provenance = {"tool": "trtexec", "latency": meaning}
    return logs.row_of(
        log, facts, defaults=DEFAULTS, metrics=metrics, latency_statistic=statistic, provenance=provenance
    )


def _column(entries: list[Mapping[str, Any]], key: str, file: str) -> list[float]:
    values = [files.number(entry[key], file, number, name=key) for number, entry in enumerate(entries, start=1)]
    return [value for value in values if value is not None]
