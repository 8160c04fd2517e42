"""Import Hugging Face's optimum-benchmark: `benchmark_report.json` and `benchmark_config.json`, or both in one file.

Its MB are millions of bytes. Memory is that of the whole process on a CPU, and of the CUDA allocator
on a GPU. Text generation has no latency per inference and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frm_mlflow import schema
from frm_mlflow.config import SourceConfig
from frm_mlflow.importers import files, limits, logs
from frm_mlflow.importers.contract import LeftOut, Row
from frm_mlflow.importers.logs import Log

CONFIG = "benchmark_config.json"
TARGETS = ("forward", "call")
SECONDS: Mapping[str, float] = {"s": 1000.0, "ms": 1.0}
MIB_PER_MB = 1e6 / 2**20
RUNTIMES: Mapping[str, str] = {"pytorch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino"}


def read(path: Path, options: SourceConfig) -> Iterator[Row | LeftOut]:
    """Yield one row for each report at `path`."""
    return logs.each(
        path, ("benchmark_report.json", "benchmark.json", "*report.json"), lambda log: _read_one(log, options)
    )


def _read_one(log: Log, options: SourceConfig) -> Iterator[Row | LeftOut]:
    document = files.load_json(log.text, log.name)
    if not isinstance(document, dict):
        limits.fail(log.name, "is not an optimum-benchmark report: not a mapping")
    report = document.get("report") or document
    config = document.get("config") or _config_beside(log)
    yield _row(log, report, config, options)


def _config_beside(log: Log) -> Mapping[str, Any]:
    """Return the configuration in the report's folder, or an empty one if it is missing or cannot be read."""
    beside = log.path.with_name(log.path.name.replace("report", "config"))
    if beside == log.path or not beside.is_file():
        return {}
    loaded = files.load_json(files.read_text(beside), beside.name)
    return loaded if isinstance(loaded, dict) else {}


def _row(log: Log, report: Mapping[str, Any], config: Mapping[str, Any], options: SourceConfig) -> Row | LeftOut:
    target = next((name for name in TARGETS if report.get(name)), None)
    if target is None:
        parts = ", ".join(map(str, report))[:200] or "nothing"
        return LeftOut(log.name, "*", f"no forward pass in the report, but {parts}")
    measured = report[target]
    if not measured.get("latency"):
        return LeftOut(log.name, target, "no latency was tracked")
    metrics = _latency(measured["latency"], log.name, target)
    memory, definition = _memory(measured.get("memory") or {}, log.name)
    value = (measured.get("throughput") or {}).get("value")
    throughput = files.number(value, log.name, target, name="throughput")
    if throughput is not None:
        metrics[schema.THROUGHPUT.key] = throughput
    return logs.row_of(
        log,
        logs.facts_of(options, log.path, _stated(config)),
        row=target,
        defaults={"runtime": "torch", "precision": "unknown"},
        metrics=metrics | memory,
        latency_statistic="p50",
        memory_definition=definition,
        provenance={"tool": "optimum-benchmark", "environment": dict(config.get("environment", {}))},
    )


def _latency(latency: Mapping[str, Any], file: str, target: str) -> dict[str, float]:
    unit = latency.get("unit")
    if unit not in SECONDS:
        limits.fail(file, f"latency in '{unit}', not in {' or '.join(SECONDS)}", row=target)
    numbers = [files.number(value, file, target, name="latency") for value in latency["values"]]
    values = [value * SECONDS[str(unit)] for value in numbers if value is not None]
    if not values or len(values) < len(numbers):
        limits.fail(file, f"{len(numbers) - len(values)} of {len(numbers)} latencies are not numbers", row=target)
    return logs.summary(values)


def _memory(memory: Mapping[str, Any], file: str) -> tuple[dict[str, float], str]:
    """Return peak memory in MiB with its definition: that of the allocator on a GPU, else of the process."""
    for key, definition in (("max_allocated", "allocator_peak"), ("max_ram", "process_peak")):
        peak = files.number(memory.get(key), file, key, name=key)
        if peak:
            return {schema.MEMORY_PEAK.key: peak * MIB_PER_MB}, definition
    return {}, ""


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    if not config:
        return {}
    backend, environment = config["backend"], config.get("environment", {})
    shapes = config.get("scenario", {}).get("input_shapes", {})
    on_gpu = backend.get("device") == "cuda"
    device = (environment.get("gpu") or [""])[0] if on_gpu else environment.get("cpu", "")
    square = shapes.get("height") if shapes.get("height") == shapes.get("width") else None
    return {
        "model": str(backend.get("model", "")).rpartition("/")[2],
        "device": str(device).strip(),
        "chip": str(device).strip(),
        "assumed_tier": "gpu" if on_gpu else "cpu",
        "runtime": _runtime(backend),
        "runtime_version": f"{backend.get('name', '')} {backend.get('version', '')}".strip(),
        "precision": str(backend.get("torch_dtype") or backend.get("dtype") or "float32"),
        "compute_unit": "gpu" if on_gpu else "cpu",
        "batch_size": shapes.get("batch_size"),
        "input_size": square,
    }


def _runtime(backend: Mapping[str, Any]) -> str:
    name = RUNTIMES.get(str(backend.get("name")), str(backend.get("name")))
    return "torch_compile" if name == "torch" and backend.get("torch_compile") else name
