"""Import NVIDIA trtexec: the text it prints (TensorRT 7 and later), `--exportTimes` and `--exportProfile` JSON.

The figure is the host's latency: copy in, compute and copy out. The GPU's compute time alone is
`latency/device_p50_ms`. With several streams or without data transfers it is a different
statistic. A profile times every layer separately: its sum is not the latency of the network in
normal operation, and is named `layers_sum`. A text may contain several runs: each is a benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import files, limits, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log

DEFAULTS: Mapping[str, Any] = {"runtime": "tensorrt", "precision": "unknown", "compute_unit": "gpu"}
EMBEDDED = re.compile(r"(?i)\b(orin|xavier|jetson|tegra|thor|drive|nano|tx[12])\b")
"""Jetsons: trtexec names them by their chip, such as Orin, Xavier, NVIDIA Tegra X1."""
STATISTICS: Mapping[str, schema.Metric] = {
    "median": schema.LATENCY_P50,
    "mean": schema.LATENCY_MEAN,
    "percentile(90%)": schema.LATENCY_P90,
    "percentile(95%)": schema.LATENCY_P95,
    "percentile(99%)": schema.LATENCY_P99,
}
PRECISIONS = ("INT8", "FP8", "FP4", "BF16", "FP16", "FP32")
"""Precisions that `Precision: FP32+FP16` may name, lowest first: TensorRT uses the fastest allowed one."""
_STARTS = ("&&&& RUNNING", "=== Model Options ===", "=== Performance summary ===")
_MARK = re.compile(r"^.{0,80}?\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] (?:\[TRT\] )?\[\w\] ?|^.{0,80}?\[[IWEV]\] ")


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield one row for each run in the logs, times and profile files at `path`."""
    return logs.each(path, ("*.log", "*.txt", "*.json"), lambda log: _read_one(log, options))


def _read_one(log: Log, options: SourceConfig) -> Iterator[Row | LeftOut]:
    if re.match(r"\s*[\[{]", log.text) and not re.match(r"\s*(&&&&|\[\d\d/\d\d/\d{4}-|\[[IWEV]\])", log.text):
        yield _from_json(log, options)
        return
    runs = _runs([_MARK.sub("", line, count=1) for line in log.lines()])
    if not any("trtexec" in line or line.startswith((*_STARTS[1:], "Latency: ")) for run in runs for line in run):
        limits.fail(log.name, _NOT_TRTEXEC)
    for number, lines in enumerate(runs, start=1):
        limits.within_time(log.name)
        row = str(number) if len(runs) > 1 else "1"
        yield logs.guarded(log.name, row, lambda lines=lines, row=row: _from_text(log, lines, row, options))  # type: ignore[misc]


_NOT_TRTEXEC = "has no `Latency: ... median = ... ms`; is it trtexec's output to the end (TensorRT 7 or later)?"


def _runs(lines: Sequence[str]) -> list[Sequence[str]]:
    """Return the lines of each run, which starts with `&&&& RUNNING`, or with the first heading if that is missing."""
    for start in _STARTS:
        at = [number for number, line in enumerate(lines) if start in line]
        if len(at) > 1:
            return [lines[a:b] for a, b in zip([0, *at[1:]], [*at[1:], len(lines)], strict=True)]
        if at:
            break
    return [lines]


def _from_text(log: Log, lines: Sequence[str], row: str, options: SourceConfig) -> Row | LeftOut:
    command = _command(lines)
    if any("&&&& FAILED" in line for line in lines):
        return LeftOut(log.name, row if row != "1" else "*", "trtexec reports FAILED")
    metrics, compute = _block(lines, "Latency"), _block(lines, "GPU Compute")
    if not metrics and re.search(r"--(buildOnly|skipInference)\b", command):
        return LeftOut(log.name, row, "an engine was built, nothing was timed")
    if schema.LATENCY_P50.key not in metrics:
        limits.fail(log.name, _NOT_TRTEXEC, row=row)
    if schema.LATENCY_P50.key in compute:
        metrics[schema.LATENCY_DEVICE_P50.key] = compute[schema.LATENCY_P50.key]
    stated, implicit_batch = _stated(lines, command)
    facts = logs.facts_of(options, log.path, stated)
    qps = files.number(_first(r"[Tt]hroughput: (\S+) qps", lines), log.name, row, name="throughput")
    if qps:
        batch = files.whole(facts.get("batch_size"), log.name, row, name="batch_size") or 1
        metrics[schema.THROUGHPUT.key] = qps if implicit_batch else qps * batch
    statistic, meaning = _statistic(lines, command)
    return logs.row_of(
        log,
        facts,
        row=row,
        defaults=_defaults(facts),
        metrics=metrics,
        latency_statistic=statistic,
        provenance={"tool": "trtexec", "latency": meaning, "command": command[:500]},
    )


def _defaults(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**DEFAULTS, "assumed_tier": "edge" if EMBEDDED.search(str(facts["device"])[:300]) else "gpu"}


def _block(lines: Sequence[str], of: str) -> dict[str, float]:
    """Return the statistics of `Latency: min = ...` (TensorRT 8), or of the lines below `Host Latency` (TensorRT 7)."""
    newer = next((line for line in reversed(lines) if re.match(rf"{of}(?: Time)?: ?\w+ = ", line)), "")
    found = dict(re.findall(r"\b([a-z]{3,12}(?:\(\d{1,2}%\))?) = ([^\s,]{1,40}) ms", newer))
    headings = ("Host Latency",) if of == "Latency" else (of,)
    at = next((n for n, line in enumerate(lines) if line.strip() in headings), None)
    if not found and at is not None:
        for line in lines[at + 1 : at + 8]:
            statistic = re.match(r"(\w+): (\S+) ms(?: at (\d+)%)?", line)
            if statistic:
                name = f"percentile({statistic[3]}%)" if statistic[3] else statistic[1]
                found.setdefault(name, statistic[2])
    values = {
        metric.key: files.number(found.get(name), of, "summary", name=name) for name, metric in STATISTICS.items()
    }
    return {key: value for key, value in values.items() if value is not None}


def _first(pattern: str, lines: Sequence[str]) -> str:
    """Return the first group of the first line whose start matches `pattern`, "" if there is none."""
    compiled = re.compile(pattern)
    return next((match[1].strip() for line in lines if (match := compiled.match(line))), "")


def _command(lines: Sequence[str]) -> str:
    running = next((line for line in lines if "trtexec" in line and " --" in line), "")
    return running[running.find("trtexec", running.find("#") + 1) :] if running else ""


def _statistic(lines: Sequence[str], command: str) -> tuple[str, str]:
    """Return the name of the latency statistic and what it measures; they depend on trtexec's options."""
    streams = logs.option(command, "(?:infStreams|streams)") or _first(r"(?:Inference )?[Ss]treams: (\d+)", lines)
    without = "--noDataTransfers" in command or _first(r"Data transfers: (\w+)", lines).lower() in ("disabled", "off")
    statistic = "p50_without_transfers" if without else "p50"
    meaning = "host: compute without copies" if without else "host: copies and compute"
    if streams.isdigit() and int(streams) > 1:
        return f"{statistic}_of_{streams[:4]}_streams", f"{meaning}, {streams[:4]} streams at once"
    return statistic, meaning


def _stated(lines: Sequence[str], command: str) -> tuple[dict[str, Any], bool]:
    """Return the facts of a run, and whether its batch is implicit (trtexec's throughput then counts samples)."""
    built = _first(r"Model: (.+)$", lines) or next(
        (path for name in ("onnx", "uff", "model", "deploy") if (path := logs.option(command, name))), ""
    )
    engine = logs.option(command, "loadEngine")
    device = _first(r"Selected Device: (.+)$", lines)
    implicit = _first(r"Batch: (\d+)$", lines) or logs.option(command, "batch")
    shape = _image_shape(lines)
    version = _first(r"TensorRT version: (\S+)", lines)
    return {
        "model": logs.model_in(built or engine or logs.option(command, "saveEngine")),
        "device": device,
        "chip": device,
        "runtime_version": f"tensorrt {version}" if version else "",
        "precision": _precision(lines, command, loaded=bool(engine)),
        "batch_size": int(implicit) if implicit.isdigit() else shape[0] if shape else None,
        "input_size": shape[-1] if shape and shape[-1] == shape[-2] else None,
    }, implicit.isdigit()


def _image_shape(lines: Sequence[str]) -> list[int]:
    """Return the first input's shape if it is batch x channels x height x width, from the options or bindings."""
    patterns = (
        r"Input inference shapes? ?: [^=]{1,200}=(\d+(?:x\d+)+)$",
        r"(?:Created i|I)nput binding for .{1,200} with dimensions (\d+(?:x\d+)+)(?: is created)?\.?$",
    )
    shape = next((text for pattern in patterns if (text := _first(pattern, lines))), "")
    sides = [int(side) for side in shape.split("x")[:8] if len(side) < 10] if shape else []
    return sides if len(sides) == 4 else []


def _precision(lines: Sequence[str], command: str, *, loaded: bool) -> str:
    """Return the lowest allowed precision; a loaded engine prints the default, so only the options count."""
    allowed = "" if loaded else _first(r"Precision: (\S+)", lines).upper()
    if loaded:
        allowed = " ".join(re.findall(r"--(int8|fp8|fp4|bf16|fp16)\b", command)).upper()
    return next((name.lower() for name in PRECISIONS if name in allowed), "")


def _from_json(log: Log, options: SourceConfig) -> Row | LeftOut:
    document = files.load_json(log.text, log.name)
    first = document[0] if isinstance(document, list) and document else None
    if not isinstance(first, dict) or not {"latencyMs", "count"} & set(first):
        limits.fail(log.name, "is neither trtexec's --exportTimes nor --exportProfile")
    facts = logs.facts_of(options, log.path, {})
    if "latencyMs" in first:
        metrics = logs.summary(_column(document, "latencyMs", log.name))
        compute = logs.summary(_column(document, "computeMs", log.name))
        metrics |= {schema.LATENCY_DEVICE_P50.key: compute[schema.LATENCY_P50.key]} if compute else {}
        statistic, meaning = "p50", "host: copies and compute"
    else:
        metrics = {schema.LATENCY_P50.key: sum(_column(document[1:], "averageMs", log.name))}
        metrics[schema.LATENCY_SAMPLES.key] = _column(document[:1], "count", log.name)[0]
        statistic, meaning = "layers_sum", "sum of the layers' mean times, each timed on its own"
    return logs.row_of(
        log,
        facts,
        defaults=_defaults(facts),
        metrics=metrics,
        latency_statistic=statistic,
        provenance={"tool": "trtexec", "latency": meaning},
    )


def _column(entries: Sequence[Mapping[str, Any]], key: str, file: str) -> list[float]:
    values = [files.number(entry[key], file, number, name=key) for number, entry in enumerate(entries, start=1)]
    return [value for value in values if value is not None]
